-- key_show: the record of a key of a workspace, revoked and expired ones too. In the global prefix.
-- READONLY
-- INCLUDE keys
-- ARGV
--   id       str
--   ws       str
-- REPLY
--   key      flat
-- ERRORS key_not_found

local record = redis.call('HGETALL', k.key(id))
if redis.call('HGET', k.key(id), 'ws') ~= ws then
  return {'key_not_found'}
end
return {'ok', record}
