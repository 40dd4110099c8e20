-- storage_about: what stands under each of some names; those that are gone are left out.
-- READONLY
-- INCLUDE keys time stored
-- ARGV
--   ws       str
--   kind     str
--   names    list
-- REPLY
--   rows     table(name str, type str, bytes int, ms int, digest str, content str)
-- ERRORS

local rows = {}
for _, name in ipairs(names) do
  local what, bytes, _, about = stored_look(ws, kind, name)
  if what ~= 'none' then
    rows[#rows + 1] = {name, what, bytes, about.ms, about.digest, about.content}
  end
end
return {'ok', rows}
