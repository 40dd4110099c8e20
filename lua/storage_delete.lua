#!lua flags=allow-oom
-- storage_delete: removes what stands under a name.
-- INCLUDE keys time stored
-- ARGV
--   ws      str
--   kind    str
--   name    str
-- REPLY
-- ERRORS storage_not_found

stored_forget(ws, kind, name)
if redis.call('UNLINK', k.data(ws, kind, name)) == 0 then
  return {'storage_not_found'}
end
return {'ok'}
