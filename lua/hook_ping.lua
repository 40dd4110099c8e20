-- hook_ping: a delivery that says nothing but that the webhook works.
-- INCLUDE keys time hook
-- ARGV
--   ws        str
--   id        str
-- REPLY
--   delivery  str
-- ERRORS webhook_not_found webhook_disabled

local enabled = redis.call('HGET', k.hook(ws, id), 'enabled')
if not enabled then
  return {'webhook_not_found'}
end
if enabled == '0' then
  return {'webhook_disabled'}
end
local delivery = 'ping-' .. fmt(now_us)
hook_deliver(ws, id, delivery, 'ping', 0, {'run', ''})
redis.call('PUBLISH', k.hookw, '')
return {'ok', delivery}
