-- run_about: whose a run is, for keys that are narrowed to agents or queues: neither ever changes.
-- READONLY
-- GUARD
-- INCLUDE keys later run
-- ARGV
--   ws       str
--   run      str
-- REPLY
--   agent    str
--   queue    str
-- ERRORS run_not_found

local r = run_get(run, {'ws', 'agent', 'queue'})
if not r or r.ws ~= ws then
  return {'run_not_found'}
end
return {'ok', r.agent, r.queue}
