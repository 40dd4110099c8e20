-- trust_list: the trust policies of a workspace, by name.
-- READONLY
-- INCLUDE keys
-- ARGV
--   ws        str
--   max       int   policies that a workspace may have
-- REPLY
--   policies  table(name str, info flat)
-- ERRORS

local out = {}
for _, name in ipairs(redis.call('ZRANGE', k.trusts(ws), 0, max - 1)) do
  out[#out + 1] = {name, redis.call('HGETALL', k.trust(ws, name))}
end
return {'ok', out}
