-- schedule_get: one schedule, and what the time is, which its next tick is worked out from.
-- READONLY
-- INCLUDE keys time schedule
-- ARGV
--   ws       str
--   name     str
-- REPLY
--   version  str   '' when there is none of that name
--   now_ms   int   Redis time
--   fields   flat  what is shown of it
-- ERRORS

local key = k.schedule(ws, name)
return {'ok', redis.call('HGET', key, 'version') or '', now_ms, schedule_shown(key, 'run')}
