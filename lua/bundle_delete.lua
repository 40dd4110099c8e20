#!lua flags=allow-oom
-- bundle_delete: forgets a bundle that no definition (of an agent's version, a run, a schedule) names.
-- INCLUDE keys def bundle
-- ARGV
--   ws    str
--   hex   str
-- REPLY
-- ERRORS bundle_not_found bundle_in_use

local known = redis.call('HMGET', k.bundle(ws, hex), 'bytes', 'refs')
if not known[1] then
  return {'bundle_not_found'}
end
if known[2] then
  return {'bundle_in_use'}
end
bundle_remove(ws, hex)
return {'ok'}
