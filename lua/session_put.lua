-- session_put: begins a browser's session of a key. In the global prefix.
-- INCLUDE keys time key
-- ARGV
--   session    str   SHA-256 (hex) of its token
--   id         str   the key
--   ttl_ms     int
--   proof      str   the beginning of the hash of the secret that it was begun with
--   max        int   sessions of a key; the oldest end
-- REPLY
--   until_ms   int
-- ERRORS

local mine = k.sessions(id)
redis.call('ZREMRANGEBYSCORE', mine, '-inf', fmt(now_us))
if redis.call('ZCARD', mine) >= max then
  local oldest = redis.call('ZRANGE', mine, 0, 0)[1]
  redis.call('ZREM', mine, oldest)
  redis.call('DEL', k.session(oldest))
  key_changed('s:' .. oldest)
end
redis.call('ZADD', mine, fmt(now_us + ttl_ms * 1000), session) -- in µs: the oldest is known among many of one moment
redis.call('PEXPIRE', mine, ttl_ms)
redis.call('HSET', k.session(session), 'key', id, 'until', fmt(now_ms + ttl_ms), 'proof', proof)
redis.call('PEXPIRE', k.session(session), ttl_ms)
return {'ok', now_ms + ttl_ms}
