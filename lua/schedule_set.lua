-- schedule_set: pauses a schedule, or lets it go on with a tick yet to come.
-- INCLUDE keys time schedule
-- ARGV
--   ws       str
--   name     str
--   seen     str   version that next_ms was worked out from; '' where it does not matter
--   paused   int
--   next_ms  int   0: none follows
-- REPLY
--   fields   flat  as schedule_get's
-- ERRORS schedule_not_found schedule_changed

local key = k.schedule(ws, name)
local s = schedule_read(ws, name, {'paused'})
if not s then
  return {'schedule_not_found'}
end
if seen ~= '' and s.version ~= seen then
  return {'schedule_changed'}
end
if paused == 1 then
  redis.call('HSET', key, 'paused', '1')
  schedule_next(ws, name, 0)
elseif s.paused == '1' then
  redis.call('HDEL', key, 'paused', 'until')
  schedule_next(ws, name, next_ms, true)
end
return {'ok', schedule_shown(key, 'run')}
