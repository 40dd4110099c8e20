-- trust_get: a trust policy.
-- READONLY
-- INCLUDE keys
-- ARGV
--   ws      str
--   name    str
-- REPLY
--   info    flat  policy, created, updated, createdBy
-- ERRORS trust_not_found

local info = redis.call('HGETALL', k.trust(ws, name))
if #info == 0 then
  return {'trust_not_found'}
end
return {'ok', info}
