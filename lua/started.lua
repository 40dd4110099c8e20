#!lua flags=allow-oom
-- started: `provisioning` → `running`, with the attempt's first event. Repeating it (a lost reply, a Redis that lost its last second) is harmless. A run that is stopping stays so.
-- GROUP
-- INCLUDE keys time later run stream
-- ARGV
--   inc        str
--   run        str
--   epoch      num
--   attempt    num
--   seq        num   the attempt's first seq
--   head       str   what its entry says of it (lua/include/stream.lua, `h`)
--   event      str   the canonical runtime_started line
--   token_sha  str   SHA-256 (hex) of the attempt's runner token
--   handle     str   executor's handle (JSON object)
-- REPLY
--   stop       int   1 when a stop was asked for
-- ERRORS fenced

local key = k.run(run)
local r = redis.call('HMGET', key, 'status', 'epoch', 'inc', 'attempt', 'started', 'startBy', 'follow', 'a' .. attempt)
local status = r[1]
if CLASS[status] ~= 'active' or r[3] ~= inc or r[2] ~= epoch or r[4] ~= attempt then
  return {'fenced'}
end
local stop_asked = status == 'stopping' and 1 or 0
if status == 'running' or (stop_asked == 1 and redis.call('HEXISTS', key, af(attempt, 'tok')) == 1) then
  return {'ok', stop_asked} -- told again
end
local _, first = attempt_claim(r[8])
if tonumber(seq) < first then
  return {'fenced'} -- what is stored reaches further
end
if status == 'provisioning' then
  status = 'running'
end
-- This makes the run's stream, if nothing was said of it before. First of all: where Redis knows a higher id, nothing is written.
redis.call('XADD', k.events(run), epoch .. '-' .. seq, 'h', head, 'b', event)
if not r[5] then
  if r[6] then
    redis.call('ZREM', k.expiry, run)
  end
  if r[7] then -- webhooks want some of its events (its claim saw it): from here on it is looked through
    redis.call('ZADD', k.follow, now_text(), run)
  end
end
if handle == '' then
  redis.call('HSET', key, 'status', status, 'a' .. attempt .. ':tok', token_sha, r[5] and af(attempt, 'started') or 'started', now_text())
else
  redis.call('HSET', key, 'status', status, 'a' .. attempt .. ':tok', token_sha, r[5] and af(attempt, 'started') or 'started', now_text(), 'a' .. attempt .. ':handle', handle)
end
wake(run)
return {'ok', stop_asked}
