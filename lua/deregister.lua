#!lua flags=allow-oom
-- deregister: a runner that ends well gives up its lease; refused while it holds runs.
-- INCLUDE keys
-- ARGV
--   inc  str
-- REPLY
--   held int  runs it still holds (then nothing was done)
-- ERRORS

local held = redis.call('ZCARD', k.held(inc))
if held == 0 then
  redis.call('DEL', k.runner(inc), k.held(inc))
  redis.call('ZREM', k.leases, inc)
end
return {'ok', held}
