-- schedule_trigger: one run of a schedule at once, beside its ticks; its overlap holds. Of a paused one too.
-- INCLUDE keys time later run lane gate def stream hook close stop replace narrow submit schedule schedule_run
-- ARGV
--   ws           str
--   name         str
--   run          str   new run id
--   idem_key     str   as submit's
--   idem_digest  str
--   created_by   str
--   rid          str
--   schema_checked str  as submit's
-- REPLY
--   run          str   as submit's
--   status       str
--   replayed     int
--   def          str
--   schema       str
--   input        str   with schema_unchecked: that is to be checked
-- ERRORS schema_unchecked schedule_not_found concurrency_limit agent_not_found idempotency_mismatch queue_full queue_draining quota_exceeded limit_exceeded

local s = schedule_read(ws, name, {'overlap', 'template', 'lastRun'})
if not s then
  return {'schedule_not_found'}
end
local reply = schedule_run(ws, name, s, {run = run, tick = now_ms, scheduled_ms = 0, rid = rid, idem_key = idem_key, idem_digest = idem_digest, created_by = created_by, schema_checked = schema_checked})
if #reply > 1 then
  reply[7] = reply[1] == 'schema_unchecked' and schedule_input(s) or ''
end
return reply
