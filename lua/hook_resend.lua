-- hook_resend: a delivery is due again, with all its attempts; it keeps its id. One that is under way stays so.
-- INCLUDE keys time hook
-- ARGV
--   ws        str
--   id        str
--   delivery  str
-- REPLY
-- ERRORS webhook_not_found delivery_not_found webhook_disabled

local hook = redis.call('HGET', k.hook(ws, id), 'enabled')
if id ~= HOOK_RUNS and not hook then
  return {'webhook_not_found'}
end
local key = k.delivery(ws, id, delivery)
if redis.call('EXISTS', key) == 0 then
  return {'delivery_not_found'}
end
if hook == '0' then
  return {'webhook_disabled'}
end
if redis.call('ZSCORE', k.hooklease(ws, id), delivery) then
  return {'ok'}
end
redis.call('HSET', key, 'status', 'pending', 'since', fmt(now_ms), 'next', fmt(now_ms), 'tries', '0')
redis.call('ZADD', k.hookdue(ws, id), fmt(now_ms), delivery)
hook_look(ws, id)
redis.call('PUBLISH', k.hookw, '')
return {'ok'}
