-- storage_put: stores a small thing as a string, in one.
-- INCLUDE keys time stored
-- ARGV
--   ws          str
--   kind        str
--   name        str
--   content     str   content type, without a line's end
--   digest      str   SHA-256, hex
--   data        str
--   max_objects int
-- REPLY
--   created     int
-- ERRORS limit_exceeded quota_exceeded

local code = stored_room(ws, kind, name, #data, max_objects)
if code then
  return {code}
end
local key = k.data(ws, kind, name)
local created = redis.call('UNLINK', key) == 0 and 1 or 0
redis.call('SET', key, data)
stored_note(ws, kind, name, #data, digest, content)
return {'ok', created}
