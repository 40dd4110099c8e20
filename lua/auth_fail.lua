#!lua flags=allow-oom
-- auth_fail: counts a failed authentication of an address. In the global prefix.
-- INCLUDE keys
-- ARGV
--   address   str
--   window_ms int
-- REPLY
--   count     int   within the window
--   left_ms   int   until the window is over
-- ERRORS

local count = redis.call('INCR', k.authfail(address))
if count == 1 then
  redis.call('PEXPIRE', k.authfail(address), window_ms)
end
return {'ok', count, math.max(redis.call('PTTL', k.authfail(address)), 0)}
