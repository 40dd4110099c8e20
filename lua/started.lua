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

local r = run_get(run, {'ws', 'epoch', 'inc', 'attempt', 'stopAt', 'started', 'startBy'})
if not r or r.inc ~= inc or tonumber(r.epoch) ~= epoch or TERMINAL[r.status] or redis.call('ZSCORE', k.held(inc), run) == false then
  return {'fenced'}
end
local n = r.attempt
local stop_asked = r.stopAt ~= '' and 1 or 0
if redis.call('HGET', k.run(run), af(n, 'status')) ~= 'provisioning' then
  return {'ok', stop_asked} -- told again
end
if tail(run).last >= seq then
  return {'fenced'}
end
if r.status == 'provisioning' then
  run_move(r, 'running')
end
redis.call('HSET', k.run(run), af(n, 'status'), 'running', af(n, 'started'), fmt(now_ms), af(n, 'tok'), token_sha)
if handle ~= '' then
  redis.call('HSET', k.run(run), af(n, 'handle'), handle)
end
if r.started == '' then
  redis.call('HSET', k.run(run), 'started', fmt(now_ms))
  if r.startBy ~= '' then
    redis.call('ZREM', k.expiry, run)
  end
end
redis.call('XADD', k.events(run), 'NOMKSTREAM', fmt(epoch) .. '-' .. fmt(seq), 'first', fmt(seq), 'last', fmt(seq), 't', fmt(t_ms), 'n', 1,
  'c', fmt(count), 'z', fmt(bytes), 'b', event)
if r.started == '' and redis.call('HEXISTS', k.hooks(r.ws), '*') == 1 then -- webhooks want some of its events: from here on it is looked through
  redis.call('HSET', k.run(run), 'follow', '0-0')
  redis.call('ZADD', k.follow, fmt(now_ms), run)
end
wake(run)
return {'ok', stop_asked}
