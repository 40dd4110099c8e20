-- agent_get: one version of an agent.
-- READONLY
-- GUARD
-- INCLUDE keys
-- ARGV
--   ws       str
--   name     str
--   version  int   0: the newest
-- REPLY
--   version  int
--   created_ms int   of the agent
--   updated_ms int   of this version
--   digest   str
--   def      str   JSON
-- ERRORS agent_not_found

local key = k.agent(ws, name)
local wanted = version > 0 and fmt(version) or redis.call('HGET', key, 'latest')
if not wanted then
  return {'agent_not_found'}
end
local found = redis.call('HMGET', key, 'created', 'v' .. wanted, 'u' .. wanted)
if not found[2] then
  return {'agent_not_found'}
end
return {'ok', wanted, found[1], found[3], found[2], redis.call('HGET', k.def(found[2]), 'json')}
