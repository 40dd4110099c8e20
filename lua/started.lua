#!lua flags=allow-oom
-- started: `provisioning` → `running`, with the attempt's first event. Repeating it (a lost reply, a Redis that lost its last second) is harmless. A run that is stopping stays so.
-- GROUP
-- INCLUDE keys time later run stream
-- ARGV
--   inc        str
--   run        str
--   epoch      num
--   seq        num   the attempt's first seq
--   t_ms       num
--   event      str   the canonical runtime_started line
--   count      num   running total of events, this one included
--   bytes      num   running total of bytes, this one included
--   token_sha  str   SHA-256 (hex) of the attempt's runner token
--   handle     str   executor's handle (JSON object)
-- REPLY
--   stop       int   1 when a stop was asked for
-- ERRORS fenced

local r = run_get(run, {'ws', 'epoch', 'inc', 'attempt', 'started', 'startBy'})
if not r or CLASS[r.status] ~= 'active' or r.inc ~= inc or r.epoch ~= epoch then
  return {'fenced'}
end
local n = r.attempt
local stop_asked = r.status == 'stopping' and 1 or 0
if r.status == 'running' or (stop_asked == 1 and redis.call('HEXISTS', k.run(run), af(n, 'tok')) == 1) then
  return {'ok', stop_asked} -- told again
end
local _, first = attempt_claim(redis.call('HGET', k.run(run), 'a' .. n))
if tonumber(seq) < first then
  return {'fenced'} -- what is stored reaches further
end
-- This makes the run's stream, if nothing was said of it before. First of all: where Redis knows a higher id, nothing is written.
local now_text = fmt(now_ms)
redis.call('XADD', k.events(run), epoch .. '-' .. seq, 'first', seq, 'last', seq, 't', t_ms, 'n', '1', 'c', count, 'z', bytes, 'b', event)
local fields = {af(n, 'tok'), token_sha, r.started == '' and 'started' or af(n, 'started'), now_text}
if handle ~= '' then
  fields[5], fields[6] = af(n, 'handle'), handle
end
if r.started == '' then
  if r.startBy ~= '' then
    redis.call('ZREM', k.expiry, run)
  end
  if #hooks_of(r.ws) > 0 and redis.call('HEXISTS', k.hooks(r.ws), '*') == 1 then -- webhooks want some of its events: from here on it is looked through
    fields[#fields + 1] = 'follow'
    fields[#fields + 1] = '0-0'
    redis.call('ZADD', k.follow, now_text, run)
  end
end
if stop_asked == 0 then
  run_move(r, 'running', fields)
else
  redis.call('HSET', k.run(run), unpack(fields))
end
wake(run)
return {'ok', stop_asked}
