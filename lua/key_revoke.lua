#!lua flags=allow-oom
-- key_revoke: ends a key at once; its record is shown for a while. Of a key that is revoked already nothing changes. In the global prefix.
-- INCLUDE keys time key
-- ARGV
--   id       str
--   ws       str
-- REPLY
-- ERRORS key_not_found

local row = redis.call('HMGET', k.key(id), 'ws', 'revoked')
if row[1] ~= ws then
  return {'key_not_found'}
end
if not row[2] then
  redis.call('HSET', k.key(id), 'revoked', fmt(now_ms))
  redis.call('HDEL', k.key(id), 'hash', 'hash2', 'until2')
  key_ends(ws, id, now_ms)
end
key_changed(id)
return {'ok'}
