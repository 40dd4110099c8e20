#!lua flags=allow-oom
-- session_delete: ends a session. In the global prefix.
-- INCLUDE keys time key
-- ARGV
--   session    str
-- REPLY
-- ERRORS

local id = redis.call('HGET', k.session(session), 'key')
if id then
  redis.call('ZREM', k.sessions(id), session)
end
redis.call('DEL', k.session(session))
key_changed('s:' .. session)
return {'ok'}
