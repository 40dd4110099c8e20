-- agent_list: a workspace's agents by name.
-- READONLY
-- GUARD
-- INCLUDE keys
-- ARGV
--   ws      str
--   after   str   name to begin behind, '' for the first page
--   limit   int
-- REPLY
--   agents  table(name str, version int, updated_ms int, executor str)
--   next    str   '' when this was the last page
-- ERRORS

local names = redis.call('ZRANGEBYLEX', k.agents(ws), after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, limit + 1)
local agents = {}
for i, name in ipairs(names) do
  if i > limit then
    return {'ok', agents, names[limit]}
  end
  local key = k.agent(ws, name)
  local latest = redis.call('HGET', key, 'latest')
  local version = redis.call('HMGET', key, 'v' .. latest, 'u' .. latest)
  agents[i] = {name, latest, version[2], redis.call('HGET', k.def(version[1]), 'executor') or ''}
end
return {'ok', agents, ''}
