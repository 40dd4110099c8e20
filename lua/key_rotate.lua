-- key_rotate: gives a key a new secret; the present one is valid until the overlap is over. In the global prefix.
-- INCLUDE keys time key
-- ARGV
--   id         str
--   ws         str
--   seen       str   what it was judged by (key_rights)
--   hash       str   SHA-256 (hex) of the new secret
--   overlap_ms int
-- REPLY
--   key        flat
-- ERRORS key_not_found key_changed

if not key_of(ws, id) then
  return {'key_not_found'}
end
if key_rights(id) ~= seen then
  return {'key_changed'}
end
redis.call('HSET', k.key(id), 'hash2', redis.call('HGET', k.key(id), 'hash'), 'until2', fmt(now_ms + overlap_ms), 'hash', hash, 'rotated', fmt(now_ms))
key_changed(id)
return {'ok', redis.call('HGETALL', k.key(id))}
