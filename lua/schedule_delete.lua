#!lua flags=allow-oom
-- schedule_delete: forgets a schedule; its runs stay.
-- INCLUDE keys def
-- ARGV
--   ws    str
--   name  str
-- REPLY
-- ERRORS schedule_not_found

local key = k.schedule(ws, name)
local found = redis.call('HMGET', key, 'version', 'def')
if not found[1] then
  return {'schedule_not_found'}
end
if found[2] then
  def_unref(found[2])
end
redis.call('DEL', key)
redis.call('ZREM', k.schedules(ws), name)
redis.call('ZREM', k.ticks, ws .. ':' .. name)
return {'ok'}
