-- secret_put: stores a sealed value as a secret's newest version, and removes versions beyond what is kept. The seal is bound to the version, so the caller says which one it sealed for.
-- INCLUDE keys time
-- ARGV
--   ws           str
--   name         str
--   version      int   what sealed was made for; 0: which would be next
--   sealed       str
--   max_secrets  int
--   max_versions int
-- REPLY
--   version      int   stored; with secret_changed: the one that is next
--   created      int   1: the secret is new
--   created_ms   int
--   updated_ms   int
-- ERRORS secret_changed limit_exceeded

local key = k.secret(ws, name)
local latest = redis.call('HGET', key, 'latest')
if not latest and redis.call('ZCARD', k.secrets(ws)) >= max_secrets then
  return {'limit_exceeded'}
end
-- A name that was deleted goes on behind what it had: a version says one value, for good.
local new = tonumber(latest or redis.call('GET', k.secretv(ws)) or '0') + 1
if version ~= new then
  return {'secret_changed', new, 0, 0, 0}
end
redis.call('HSET', key, 'latest', fmt(version), 'v' .. fmt(version), sealed, 'u' .. fmt(version), fmt(now_ms))
if not latest then
  redis.call('HSET', key, 'created', fmt(now_ms))
  redis.call('ZADD', k.secrets(ws), 0, name)
end
local old = version - max_versions
if old > 0 then
  redis.call('HDEL', key, 'v' .. fmt(old), 'u' .. fmt(old))
end
return {'ok', version, latest and 0 or 1, redis.call('HGET', key, 'created'), now_ms}
