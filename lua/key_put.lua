-- key_put: makes an API key, or replaces what one may do. In the global prefix.
-- INCLUDE keys time key
-- ARGV
--   id         str
--   ws         str
--   replace    int   1: the key must be there; its secret stays
--   seen       str   of one that is replaced: what it was judged by (key_rights)
--   expires_ms int   0: never
--   kept_ms    int   how long its record is shown behind its end; 0: as usual
--   max_keys   int   keys of a workspace
--   fields     list  field, value, …: name, scopes, agents, queues, cidrs, rate, conc; of a new one also hash and by
-- REPLY
--   key        flat  the record
-- ERRORS key_not_found key_changed limit_exceeded internal

if replace == 1 and not key_of(ws, id) then
  return {'key_not_found'}
end
if replace == 1 and key_rights(id) ~= seen then
  return {'key_changed'}
end
key_sweep(ws)
if replace == 0 then
  if redis.call('EXISTS', k.key(id)) == 1 then
    return {'internal'}
  end
  if redis.call('ZCARD', k.keys(ws)) >= max_keys then
    return {'limit_exceeded'}
  end
  redis.call('HSET', k.key(id), 'ws', ws, 'created', fmt(now_ms))
  redis.call('ZADD', k.keys(ws), 0, id)
else
  redis.call('HDEL', k.key(id), 'expires', 'agents', 'queues', 'cidrs', 'rate', 'conc')
end
redis.call('HSET', k.key(id), unpack(fields))
if expires_ms > 0 then
  redis.call('HSET', k.key(id), 'expires', fmt(expires_ms))
end
key_ends(ws, id, expires_ms, kept_ms > 0 and kept_ms or nil)
if replace == 1 then
  key_changed(id)
end
return {'ok', redis.call('HGETALL', k.key(id))}
