#!lua flags=allow-oom
-- ws_put: replaces a workspace's settings; a changed concurrency counts at once, also for what waits. It works while Redis is full: a shorter retention may be what helps.
-- INCLUDE keys time later run lane gate workspace
-- ARGV
--   ws             str
--   concurrency    int   0 for none
--   max_workspaces int   workspaces that may have settings
--   fields         list  field, value, … of all settings there are
-- REPLY
--   info           flat  the settings and `created`
--   waiting        int   runs of it that wait
--   bytes          int   what its runs hold
-- ERRORS limit_exceeded

local created = redis.call('HGET', k.ws(ws), 'created')
if not created and redis.call('ZCARD', k.workspaces) >= max_workspaces then
  return {'limit_exceeded'}
end
redis.call('DEL', k.ws(ws))
redis.call('HSET', k.ws(ws), 'created', created or fmt(now_ms), unpack(fields))
redis.call('ZADD', k.workspaces, 0, ws)
ws_mirror(ws)
ws_bound(ws, concurrency)
local use = redis.call('HMGET', k.use(ws), 'waiting', 'bytes')
return {'ok', redis.call('HGETALL', k.ws(ws)), use[1] or '0', use[2] or '0'}
