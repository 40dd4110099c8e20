-- storage_get: what stands under a name; its bytes too, where that is a string.
-- READONLY
-- INCLUDE keys time stored
-- ARGV
--   ws       str
--   kind     str
--   name     str
--   max      int   a longer string is not given
-- REPLY
--   type     str   string, list (of parts), other (nothing that could be sent)
--   bytes    int
--   parts    int
--   ms       int   when it was stored; 0: nobody knows
--   digest   str   '' where nobody knows
--   content  str   content type, '' where nobody knows
--   data     str   of a string
-- ERRORS storage_not_found

local what, bytes, parts, about = stored_look(ws, kind, name)
if what == 'none' then
  return {'storage_not_found'}
end
local data = what == 'string' and bytes <= max and redis.call('GET', k.data(ws, kind, name)) or ''
return {'ok', what, bytes, parts, about.ms, about.digest, about.content, data}
