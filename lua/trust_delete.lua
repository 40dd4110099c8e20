#!lua flags=allow-oom
-- trust_delete: removes a trust policy: no token is exchanged under it any more. It works while Redis is full: what must not be trusted can't wait.
-- INCLUDE keys
-- ARGV
--   ws      str
--   name    str
-- REPLY
-- ERRORS trust_not_found

if redis.call('DEL', k.trust(ws, name)) == 0 then
  return {'trust_not_found'}
end
redis.call('ZREM', k.trusts(ws), name)
return {'ok'}
