-- storage_piece: a part of what is being downloaded, if that is still what it was when the download began.
-- READONLY
-- INCLUDE keys time stored
-- ARGV
--   ws      str
--   kind    str
--   name    str
--   ms      int   when it was stored
--   digest  str
--   n       int   from 0
--   max     int   a longer one is not given: an agent put it there
-- REPLY
--   data    str
-- ERRORS storage_not_found

local about = stored_read(ws, kind, name)
local key = k.data(ws, kind, name)
local data = about and about.ms == ms and about.digest == digest and redis.call('TYPE', key).ok == 'list' and redis.call('LINDEX', key, n)
if not data or #data > max then
  return {'storage_not_found'}
end
return {'ok', data}
