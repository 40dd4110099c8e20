#!lua flags=allow-oom
-- session_delete: ends a session. In the global prefix.
-- INCLUDE keys time key
-- ARGV
--   session    str
-- REPLY
-- ERRORS

redis.call('DEL', k.session(session))
key_changed('s:' .. session)
return {'ok'}
