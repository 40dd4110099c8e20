#!lua flags=allow-oom
-- delete: removes an ended run with everything of it, and cuts its readers.
-- INCLUDE keys later run stream def remove
-- ARGV
--   ws   str
--   run  str
-- REPLY
-- ERRORS run_not_found run_active

local r = run_get(run, REMOVE_FIELDS)
if not r or r.ws ~= ws then
  return {'run_not_found'}
end
if r.status ~= 'success' and r.status ~= 'error' and r.status ~= 'stopped' then
  return {'run_active'}
end
run_remove(r)
return {'ok'}
