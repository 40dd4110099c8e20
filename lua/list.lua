-- list: a page of a workspace's runs, newest first; examines at most `examine` of them.
-- READONLY
-- INCLUDE keys run stream
-- ARGV
--   ws         str
--   agent      str   '' for all
--   statuses   list  empty for all
--   labels     list  needles as stored, `"key":"value"`
--   created_by str   '' for all
--   since_ms   int   0 for none
--   until_ms   int   0 for none
--   cursor     str   the last page's next, '' for the first
--   limit      int
--   examine    int
-- REPLY
--   runs       table(run str, created_us int, record flat, last_seq int, event_count int, event_bytes int)   record: the run hash without input, result and attempts
--   next       str   '' when this was the last page
-- ERRORS

local CHUNK = 100
local SHOWN = {'ws', 'agent', 'agentVersion', 'status', 'queue', 'priority', 'createdUs', 'scheduled', 'started', 'completed', 'attempt', 'failures', 'maxAttempts', 'error',
  'createdBy', 'sessionId', 'parent', 'labels', 'traceparent', 'stopAt', 'lastSeq', 'eventCount', 'eventBytes', 'resultTruncated', 'droppedTo', 'rerunOf',
  'waitGate', 'waitingFor', 'deps', 'depsLeft', 'reqText', 'slots', 'gates', 'startBy', 'schedule', 'deadLetter', 'redrivenAs', 'resultDropped'}
local FETCHED = {'def', unpack(SHOWN)}
local wanted = #statuses > 0 and {} or nil
for _, status in ipairs(statuses) do
  wanted[status] = true
end
local max_score = until_ms > 0 and fmt(until_ms * 1000 + 999) or '+inf'
local min_score = since_ms > 0 and fmt(since_ms * 1000) or '-inf'
local after_score, after_id = string.match(cursor, '^(%d+):(.+)$')
if after_score and (max_score == '+inf' or tonumber(after_score) < tonumber(max_score)) then
  max_score = after_score
end

local function fits(r)
  if (wanted and not wanted[r.status]) or (created_by ~= '' and r.createdBy ~= created_by) then
    return false
  end
  for _, needle in ipairs(labels) do
    local at = string.find(r.labels, needle, 1, true)
    if not at or not string.find(string.sub(r.labels, at - 1, at - 1), '[{,]') then
      return false
    end
  end
  return true
end

local attempts = {} -- maxAttempts by definition: many runs share one
local function row(id, score, r)
  if r.maxAttempts == '' then
    attempts[r.def] = attempts[r.def] or redis.call('HGET', k.def(r.def), 'maxAttempts') or '1'
    r.maxAttempts = attempts[r.def]
  end
  local flat = {}
  for _, field in ipairs(SHOWN) do
    if r[field] ~= '' then
      flat[#flat + 1] = field
      flat[#flat + 1] = r[field]
    end
  end
  local now = TERMINAL[r.status] and {last = r.lastSeq, c = r.eventCount, z = r.eventBytes} or tail(id)
  return {id, score, flat, now.last, now.c, now.z}
end

local runs, examined, offset, next_cursor = {}, 0, 0, ''
while true do
  local page = redis.call('ZREVRANGEBYSCORE', k.idx(ws, agent), max_score, min_score, 'WITHSCORES', 'LIMIT', offset, CHUNK)
  for i = 1, #page, 2 do
    local id, score = page[i], fmt(tonumber(page[i + 1]))
    if not (after_score and score == after_score and id >= after_id) then -- ties: in the order that ZREVRANGE gives
      if #runs >= limit or examined >= examine then
        return {'ok', runs, next_cursor}
      end
      examined = examined + 1
      next_cursor = score .. ':' .. id
      local r = run_get(id, FETCHED)
      if r and fits(r) then
        runs[#runs + 1] = row(id, score, r)
      end
    end
  end
  if #page < 2 * CHUNK then
    return {'ok', runs, ''}
  end
  offset = offset + CHUNK
end
