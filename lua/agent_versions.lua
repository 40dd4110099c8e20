-- agent_versions: the versions of an agent that are kept, the newest first.
-- READONLY
-- INCLUDE keys
-- ARGV
--   ws       str
--   name     str
-- REPLY
--   latest   int
--   versions table(version int, updated_ms int, digest str, executor str, bundle str)   bundle: WS:HEX, or '' for none
-- ERRORS agent_not_found

local key = k.agent(ws, name)
local latest = redis.call('HGET', key, 'latest')
if not latest then
  return {'agent_not_found'}
end
local fields, versions = redis.call('HGETALL', key), {}
for i = 1, #fields, 2 do
  local version = string.match(fields[i], '^v(%d+)$')
  if version then
    local def = redis.call('HMGET', k.def(fields[i + 1]), 'executor', 'bundle')
    versions[#versions + 1] = {version, redis.call('HGET', key, 'u' .. version), fields[i + 1], def[1] or '', def[2] or ''}
  end
end
table.sort(versions, function(a, b) return tonumber(a[1]) > tonumber(b[1]) end)
return {'ok', latest, versions}
