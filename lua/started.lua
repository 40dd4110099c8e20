#!lua flags=allow-oom
-- started: `provisioning` → `running`, with the attempt's first event. Repeating it (a lost reply, a Redis that lost its last second) is harmless. A run that is stopping stays so.
-- INCLUDE keys time run stream
-- ARGV
--   inc        str
--   run        str
--   epoch      int
--   seq        int   the attempt's first seq
--   t_ms       int
--   event      str   the canonical runtime_started line
--   count      int   running total of events, this one included
--   bytes      int   running total of bytes, this one included
--   token_sha  str   SHA-256 (hex) of the attempt's runner token
--   handle     str   executor's handle (JSON object)
-- REPLY
--   stop       int   1 when a stop was asked for
-- ERRORS fenced

local r = run_get(run, {'ws', 'epoch', 'inc', 'attempt', 'started', 'startBy'})
if not r or CLASS[r.status] ~= 'active' or r.inc ~= inc or r.epoch + 0 ~= epoch then
  return {'fenced'}
end
local n = r.attempt
local stop_asked = r.status == 'stopping' and 1 or 0
if r.status == 'running' or (stop_asked == 1 and redis.call('HGET', k.run(run), af(n, 'status')) ~= 'provisioning') then
  return {'ok', stop_asked} -- told again
end
if seq < (redis.call('HGET', k.run(run), af(n, 'first')) or 0) + 0 then
  return {'fenced'} -- what is stored reaches further
end
-- This makes the run's stream, if nothing was said of it before. First of all: where Redis knows a higher id, nothing is written.
redis.call('XADD', k.events(run), r.epoch .. '-' .. fmt(seq), 'first', seq, 'last', seq, 't', t_ms, 'n', 1, 'c', count, 'z', bytes, 'b', event)
local fields = {af(n, 'status'), 'running', af(n, 'started'), now_ms, af(n, 'tok'), token_sha}
if handle ~= '' then
  fields[7], fields[8] = af(n, 'handle'), handle
end
if r.started == '' then
  fields[#fields + 1] = 'started'
  fields[#fields + 1] = now_ms
  if r.startBy ~= '' then
    redis.call('ZREM', k.expiry, run)
  end
  if redis.call('HEXISTS', k.hooks(r.ws), '*') == 1 then -- webhooks want some of its events: from here on it is looked through
    fields[#fields + 1] = 'follow'
    fields[#fields + 1] = '0-0'
    redis.call('ZADD', k.follow, now_ms, run)
  end
end
if stop_asked == 0 then
  run_move(r, 'running', fields)
else
  redis.call('HSET', k.run(run), unpack(fields))
end
wake(run)
return {'ok', stop_asked}
