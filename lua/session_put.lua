-- session_put: begins a browser's session of a key. In the global prefix.
-- INCLUDE keys time
-- ARGV
--   session    str   SHA-256 (hex) of its token
--   id         str   the key
--   ttl_ms     int
-- REPLY
--   until_ms   int
-- ERRORS

redis.call('HSET', k.session(session), 'key', id, 'until', fmt(now_ms + ttl_ms))
redis.call('PEXPIRE', k.session(session), ttl_ms)
return {'ok', now_ms + ttl_ms}
