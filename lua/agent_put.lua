-- agent_put: stores a definition as an agent's newest version; the same definition as the newest changes nothing.
-- INCLUDE keys time later run lane gate def agent
-- ARGV
--   ws         str
--   name       str
--   digest     str
--   def_fields list  as submit's
--   max_agents int
--   max_versions int
-- REPLY
--   version    int
--   created    int   1: the agent is new
-- ERRORS limit_exceeded bundle_not_found

local key = k.agent(ws, name)
local latest = redis.call('HGET', key, 'latest')
if latest and redis.call('HGET', key, 'v' .. latest) == digest then
  return {'ok', tonumber(latest), 0}
end
if not latest and redis.call('ZCARD', k.agents(ws)) >= max_agents then
  return {'limit_exceeded'}
end
if not def_ready(ws, def_fields) then
  return {'bundle_not_found'}
end
def_ref(digest, def_fields)
local version = agent_store(ws, name, latest, digest, max_versions)
if not latest then
  redis.call('HSET', key, 'created', fmt(now_ms))
  redis.call('ZADD', k.agents(ws), 0, name)
end
return {'ok', version, latest and 0 or 1}
