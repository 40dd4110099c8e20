-- trust_put: makes or replaces a trust policy. Those of one issuer in a workspace name the same keys, so that a token is looked at once whichever of them takes it.
-- INCLUDE keys time
-- ARGV
--   ws        str
--   name      str
--   issuer    str
--   jwks_uri  str   '' where the issuer says it
--   policy    str   as it was asked for, checked: JSON
--   by        str   who asks: a key's id
--   max       int   policies that a workspace may have
-- REPLY
--   created   int   1 when it is new
--   info      flat  policy, created, updated, createdBy
-- ERRORS limit_exceeded trust_conflict

local key = k.trust(ws, name)
local new = redis.call('EXISTS', key) == 0
local names = redis.call('ZRANGE', k.trusts(ws), 0, max)
if new and #names >= max then
  return {'limit_exceeded'}
end
for _, other in ipairs(names) do
  if other ~= name then
    local is = redis.call('HMGET', k.trust(ws, other), 'issuer', 'jwksUri')
    if is[1] == issuer and is[2] ~= jwks_uri then
      return {'trust_conflict'}
    end
  end
end
if new then
  redis.call('HSET', key, 'created', fmt(now_ms))
  redis.call('ZADD', k.trusts(ws), 0, name)
end
redis.call('HSET', key, 'issuer', issuer, 'jwksUri', jwks_uri, 'policy', policy, 'version', fmt(now_us), 'updated', fmt(now_ms), 'createdBy', by)
return {'ok', new and 1 or 0, redis.call('HGETALL', key)}
