-- secret_show: when a secret's versions were stored; nothing of what they are.
-- READONLY
-- INCLUDE keys
-- ARGV
--   ws         str
--   name       str
-- REPLY
--   version    int   the newest
--   created_ms int
--   versions   table(version int, stored_ms int)   oldest first
-- ERRORS secret_not_found

local key = k.secret(ws, name)
local head = redis.call('HMGET', key, 'latest', 'created')
if not head[1] then
  return {'secret_not_found'}
end
local versions = {}
for _, field in ipairs(redis.call('HKEYS', key)) do
  local version = string.match(field, '^v(%d+)$')
  if version then
    versions[#versions + 1] = {version, redis.call('HGET', key, 'u' .. version)}
  end
end
table.sort(versions, function(a, b) return tonumber(a[1]) < tonumber(b[1]) end)
return {'ok', head[1], head[2], versions}
