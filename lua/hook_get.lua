-- hook_get: one webhook.
-- READONLY
-- INCLUDE keys hook
-- ARGV
--   ws      str
--   id      str
-- REPLY
--   fields  flat  what is shown of it
-- ERRORS webhook_not_found

if redis.call('EXISTS', k.hook(ws, id)) == 0 then
  return {'webhook_not_found'}
end
return {'ok', hook_shown(ws, id)}
