-- tick: runs a schedule's tick and moves the schedule on. Only once, whoever asks and whatever the callers' clocks say: nothing happens unless the tick is still the next one, and has come.
-- INCLUDE keys time later run lane gate def stream hook close stop replace narrow submit schedule schedule_run
-- ARGV
--   ws        str
--   name      str
--   version   str   as `ticks` gave it
--   seen_ms   int   the schedule's next tick, as `ticks` gave it
--   tick_ms   int   the tick to run, that one or a later one; 0: none
--   next_ms   int   the one that follows, 0: none
--   missed    int   ticks before it that are passed over
--   until_ms  int   catching up: missed ticks to this one all run; 0: no change
--   run       str   new run id
--   rid       str
--   schema_checked str  as submit's
--   schema_failed int   1: the input does not meet the agent's inputSchema as it is now, so there is no run
-- REPLY
--   moved     int   1: this call moved the schedule on
--   code      str   why there was no run, '' when there was one or none was to be
--   def       str   with schema_unchecked: as submit's
--   schema    str
--   input     str   that is to be checked
-- ERRORS schema_unchecked

local key = k.schedule(ws, name)
local s = schedule_read(ws, name, {'next', 'overlap', 'template', 'lastRun', 'jitterMs'})
if not s or s.version ~= version or s.next ~= fmt(seen_ms) or now_ms < seen_ms or now_ms < tick_ms then
  return {'ok', 0, '', '', '', ''}
end
local code = ''
if tick_ms > 0 and schema_failed == 1 then
  code = 'input_invalid'
  missed = missed + 1
  redis.call('HSET', key, 'lastError', code)
elseif tick_ms > 0 then
  -- The same jitter of a tick for whoever works it out; spread over schedules that tick together.
  local hash = tonumber(string.sub(redis.sha1hex(ws .. ':' .. name .. ':' .. fmt(tick_ms)), 1, 12), 16)
  local at = tick_ms + hash % (tonumber(s.jitterMs) + 1)
  local reply = schedule_run(ws, name, s, {run = run, tick = tick_ms, scheduled_ms = at, rid = rid, idem_key = '', idem_digest = '', created_by = '', schema_checked = schema_checked})
  if reply[1] == 'schema_unchecked' then
    return {reply[1], 0, '', reply[5], reply[6], schedule_input(s)}
  end
  if reply[1] ~= 'ok' then
    code = reply[1]
    missed = missed + 1
  end
  if code ~= '' and code ~= 'concurrency_limit' then
    redis.call('HSET', key, 'lastError', code)
  end
end
if missed > 0 then
  redis.call('HINCRBY', key, 'skipped', missed)
end
if until_ms > 0 then
  redis.call('HSET', key, 'until', fmt(until_ms))
end
schedule_next(ws, name, next_ms)
return {'ok', 1, code, '', '', ''}
