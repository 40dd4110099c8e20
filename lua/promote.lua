#!lua flags=allow-oom
-- promote: what time has come for. Tells dependents of ended runs; moves delayed runs that are due on, `scheduled` → `queued`; ends runs that did not start in time; lets in who waits at a rate gate. Any node, at any time.
-- INCLUDE keys time later run lane gate def stream hook close stop replace
-- ARGV
--   max          int  most runs of each kind to look at
--   rid          str
--   retention_ms int
-- REPLY
--   promoted  int
--   next_ms   int  milliseconds until there is something to do; 0: at once; -1: nothing waits for its time
-- ERRORS

due_told = true
local TOLD_STEP, PUMPED = 4, 64
local next_ms = -1
local function again_in(ms)
  next_ms = next_ms < 0 and ms or math.min(next_ms, ms)
end
local PROMOTE_FIELDS = {'ws', 'queue', 'req', 'reqText', 'priority', 'gates', 'gated', 'made', 'onLimit', 'depsLeft', 'onDepFail', 'scheduled', 'attempt'}

local function enqueue(run)
  run_move(run, 'queued')
  replace_others(run, rid, retention_ms)
  run_admit(run)
end

-- One dependency of a run ended.
local function tell_dependent(run, dep, status)
  if status ~= 'success' and run.onDepFail ~= 'run' then
    run_give_up(run_get(run.id, CLOSE_FIELDS), 'start_failed', 'its dependency ' .. dep .. ' ended as ' .. status, rid, retention_ms)
  elseif tonumber(run.depsLeft) > 1 then
    redis.call('HSET', k.run(run.id), 'depsLeft', tonumber(run.depsLeft) - 1)
  else
    redis.call('HDEL', k.run(run.id), 'depsLeft')
    if run.scheduled ~= '' and tonumber(run.scheduled) > now_ms then
      delay_add(run, tonumber(run.scheduled))
    else
      enqueue(run)
    end
  end
end

-- Each kind has its part of a call, however much there is of the others; what is left comes with the next call, at once.
local budget = max
while budget > 0 and work < WORK_PART do
  local ended = redis.call('HRANDFIELD', k.depq, 1, 'WITHVALUES')
  if not ended[1] then
    break
  end
  local told = redis.call('SPOP', k.dependents(ended[1]), math.min(budget, TOLD_STEP))
  for _, id in ipairs(told) do
    local run = run_get(id, PROMOTE_FIELDS)
    if run and run.status == 'scheduled' and run.depsLeft ~= '' then
      tell_dependent(run, ended[1], ended[2])
    end
  end
  budget = budget - #told - 1
  if redis.call('EXISTS', k.dependents(ended[1])) == 0 then
    redis.call('HDEL', k.depq, ended[1])
  end
end
if redis.call('EXISTS', k.depq) == 1 then
  again_in(0)
end

work = 0
local promoted = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', k.delayed, '-inf', now_ms, 'LIMIT', 0, max)) do
  if work >= WORK_PART then
    break
  end
  promoted = promoted + 1
  local run = run_get(id, PROMOTE_FIELDS)
  if run and run.status == 'scheduled' then
    delay_remove(run)
    enqueue(run)
  else
    redis.call('ZREM', k.delayed, id)
  end
end

work = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', k.expiry, '-inf', now_ms, 'LIMIT', 0, max)) do
  if work >= WORK_PART then
    break
  end
  local run = run_get(id, CLOSE_FIELDS)
  if not run or run.started ~= '' or TERMINAL[run.status] then
    redis.call('ZREM', k.expiry, id)
  elseif run.status == 'queued' or run.status == 'scheduled' then
    run_give_up(run, 'expired', 'it was not started in time', rid, retention_ms)
  else
    redis.call('ZADD', k.expiry, fmt(now_ms + 1000), id) -- it is being started, or comes back
  end
end

work = 0
for _, gate in ipairs(redis.call('ZRANGEBYSCORE', k.throttled, '-inf', now_ms, 'LIMIT', 0, max)) do
  if work >= WORK_PART then
    break
  end
  redis.call('ZREM', k.throttled, gate)
  local ws, name = string.match(gate, '^([^:]*):(.*)$')
  if gate_pump(ws, name, math.min(max, PUMPED)) then
    throttle(ws, name, now_ms)
  end
end

for _, key in ipairs({k.delayed, k.expiry, k.throttled}) do
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if first[2] then
    again_in(math.max(0, tonumber(first[2]) - now_ms))
  end
end
return {'ok', promoted, next_ms}
