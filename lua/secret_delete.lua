#!lua flags=allow-oom
-- secret_delete: forgets a secret with all its versions; the workspace remembers how far their numbers went.
-- INCLUDE keys
-- ARGV
--   ws    str
--   name  str
-- REPLY
-- ERRORS secret_not_found

local key = k.secret(ws, name)
local latest = redis.call('HGET', key, 'latest')
if not latest then
  return {'secret_not_found'}
end
if tonumber(latest) > tonumber(redis.call('GET', k.secretv(ws)) or '0') then
  redis.call('SET', k.secretv(ws), latest)
end
redis.call('UNLINK', key)
redis.call('ZREM', k.secrets(ws), name)
return {'ok'}
