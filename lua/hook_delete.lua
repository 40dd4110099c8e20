#!lua flags=allow-oom
-- hook_delete: removes a webhook with its deliveries, in bounded steps: at once it gets no more of them, and only in the end it is gone.
-- INCLUDE keys time hook
-- ARGV
--   ws    str
--   id    str
--   max   int   deliveries of this step
-- REPLY
--   more  int   1: call again
-- ERRORS webhook_not_found

local key = k.hook(ws, id)
if redis.call('EXISTS', key) == 0 then
  return {'webhook_not_found'}
end
hook_filter(ws, id, '')
redis.call('HSET', key, 'enabled', '0', 'disabledReason', 'deleted')
for _, delivery in ipairs(redis.call('ZRANGE', k.hooklist(ws, id), 0, max - 1)) do
  hook_forget(ws, id, delivery)
end
if redis.call('EXISTS', k.hooklist(ws, id)) == 1 then
  return {'ok', 1}
end
redis.call('DEL', key)
redis.call('ZREM', k.hookq, ws .. ':' .. id)
hook_filter(ws, id, nil)
return {'ok', 0}
