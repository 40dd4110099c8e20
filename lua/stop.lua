#!lua flags=allow-oom
-- stop: stores the intent for a run and its descendants (also of one that has ended) and tells their runners. Queued and scheduled ones end here. Trees beyond max are continued by reap.
-- INCLUDE keys time later run lane gate stream hook close stop
-- ARGV
--   ws           str
--   run          str
--   max          int   most runs to visit
--   rid          str
--   retention_ms int
-- REPLY
--   status       str   of the named run, after this
--   already      int   1: it had ended before
-- ERRORS run_not_found

local r = run_get(run, CLOSE_FIELDS)
if not r or r.ws ~= ws then
  return {'run_not_found'}
end
local already = TERMINAL[r.status] and 1 or 0
stop_one(r, rid, retention_ms)
if redis.call('EXISTS', k.children(run)) == 1 then
  redis.call('HSET', k.stopq, run, '-1')
  stop_descendants(max, rid, retention_ms)
end
return {'ok', r.status, already}
