-- agent_rollback: stores an earlier version's definition as an agent's newest version; when it is the newest one's already, nothing changes.
-- INCLUDE keys time later run lane gate def agent
-- ARGV
--   ws           str
--   name         str
--   version      int   whose definition
--   max_versions int
-- REPLY
--   version      int   the newest one now
--   digest       str
-- ERRORS agent_not_found

local key = k.agent(ws, name)
local latest = redis.call('HGET', key, 'latest')
local digest = redis.call('HGET', key, 'v' .. fmt(version))
if not latest or not digest then
  return {'agent_not_found'}
end
if redis.call('HGET', key, 'v' .. latest) == digest then
  return {'ok', latest, digest}
end
def_ref(digest, {})
return {'ok', agent_store(ws, name, latest, digest, max_versions), digest}
