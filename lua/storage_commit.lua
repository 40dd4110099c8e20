-- storage_commit: an upload takes the place of what stood under the name, in one step.
-- INCLUDE keys time stored
-- ARGV
--   ws          str
--   kind        str
--   name        str
--   upload      str
--   parts       int   that were hashed
--   bytes       int
--   content     str
--   digest      str
--   max_objects int
-- REPLY
--   created     int
-- ERRORS storage_part limit_exceeded quota_exceeded

local from, key = k.upload(ws, kind, upload, name), k.data(ws, kind, name)
if redis.call('LLEN', from) ~= parts then
  return {'storage_part'}
end
local code = stored_room(ws, kind, name, bytes, max_objects)
if code then
  return {code}
end
local created = redis.call('UNLINK', key) == 0 and 1 or 0
redis.call('RENAME', from, key)
redis.call('PERSIST', key)
redis.call('ZREM', k.uploads(ws), kind .. ':' .. upload .. ':' .. name)
stored_note(ws, kind, name, bytes, digest, content)
return {'ok', created}
