-- secret_list: a workspace's secrets by name.
-- READONLY
-- INCLUDE keys
-- ARGV
--   ws       str
--   after    str   name to begin behind, '' for the first page
--   limit    int
-- REPLY
--   secrets  table(name str, version int, created_ms int, updated_ms int)
--   next     str   '' when this was the last page
-- ERRORS

local names = redis.call('ZRANGEBYLEX', k.secrets(ws), after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, limit + 1)
local secrets = {}
for i, name in ipairs(names) do
  if i > limit then
    return {'ok', secrets, names[limit]}
  end
  local key = k.secret(ws, name)
  local head = redis.call('HMGET', key, 'latest', 'created')
  secrets[i] = {name, head[1], head[2], redis.call('HGET', key, 'u' .. head[1])}
end
return {'ok', secrets, ''}
