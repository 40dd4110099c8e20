-- A run as lists and trees show it: the record without input, result and attempts, and its counters.
local SHOWN = {'ws', 'agent', 'agentVersion', 'status', 'queue', 'priority', 'createdUs', 'scheduled', 'started', 'completed', 'attempt', 'failures', 'maxAttempts', 'error',
  'createdBy', 'sessionId', 'parent', 'labels', 'traceparent', 'stopAt', 'resultTruncated', 'droppedTo', 'rerunOf',
  'waitGate', 'waitingFor', 'deps', 'depsLeft', 'reqText', 'slots', 'gates', 'startBy', 'schedule', 'deadLetter', 'redrivenAs', 'resultDropped', 'hook', 'asked', 'inputLast'}
local FETCHED = {'def', 'made', 'tail'} -- KEPT: a constant, completed by the first call
local shown_attempts -- maxAttempts by definition: many runs share one
-- EACH CALL
shown_attempts = {}
for i = 1, #FETCHED == 3 and #SHOWN or 0 do
  FETCHED[#FETCHED + 1] = not MADE[SHOWN[i]] and SHOWN[i] or nil
end

-- The fields that are there, as field and value, and the counters: of the record where it has ended, else of the stream. r: from run_get(id, FETCHED).
local function run_summary(r)
  if r.maxAttempts == '' then
    shown_attempts[r.def] = shown_attempts[r.def] or redis.call('HGET', k.def(r.def), 'maxAttempts') or '1'
    r.maxAttempts = shown_attempts[r.def]
  end
  local flat = {}
  for _, field in ipairs(SHOWN) do
    if r[field] ~= '' then
      flat[#flat + 1] = field
      flat[#flat + 1] = r[field]
    end
  end
  return flat, TERMINAL[r.status] and tail_read(r.tail) or tail(r.id)
end
