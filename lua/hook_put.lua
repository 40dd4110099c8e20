-- hook_put: stores a webhook, a new one or in the place of one; its secrets and what it counted stay.
-- INCLUDE keys time hook
-- ARGV
--   ws        str
--   id        str
--   secret    str   sealed, of a new one; '' : it must be there
--   filter    str   what it wants, as `hooks` has it; '' while it is off
--   max_hooks int
--   fields    list  field, value, … of all settings there are
-- REPLY
--   fields    flat  as hook_get's
-- ERRORS webhook_not_found limit_exceeded

local key = k.hook(ws, id)
local old = redis.call('HMGET', key, 'created', 'secret', 'disabledReason')
if (secret == '' and not old[1]) or old[3] == 'deleted' then -- one that is being deleted does not come back
  return {'webhook_not_found'}
end
local count = redis.call('HLEN', k.hooks(ws)) - redis.call('HEXISTS', k.hooks(ws), '*')
if not old[1] and count >= max_hooks then
  return {'limit_exceeded'}
end
redis.call('HDEL', key, 'agents', 'description', 'disabledReason', 'enabled')
redis.call('HSET', key, 'created', old[1] or fmt(now_ms), 'updated', fmt(now_ms), 'secret', old[2] or secret, unpack(fields))
hook_filter(ws, id, filter)
return {'ok', hook_shown(ws, id)}
