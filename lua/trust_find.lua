-- trust_find: the trust policies of a workspace that may take a token of an issuer.
-- READONLY
-- INCLUDE keys
-- ARGV
--   ws        str
--   issuer    str
--   name      str   only this one; '' for all
--   max       int   policies that a workspace may have
-- REPLY
--   policies  table(name str, policy str, version str)
-- ERRORS

local out = {}
for _, one in ipairs(name ~= '' and {name} or redis.call('ZRANGE', k.trusts(ws), 0, max - 1)) do
  local key = k.trust(ws, one)
  if redis.call('HGET', key, 'issuer') == issuer then
    local is = redis.call('HMGET', key, 'policy', 'version')
    out[#out + 1] = {one, is[1], is[2]}
  end
end
return {'ok', out}
