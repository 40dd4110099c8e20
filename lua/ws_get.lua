-- ws_get: a workspace's settings and what it uses.
-- READONLY
-- INCLUDE keys
-- ARGV
--   ws       str
-- REPLY
--   info     flat  the settings and `created`; empty when it has none
--   waiting  int   runs of it that wait
--   bytes    int   what its runs hold
-- ERRORS

local use = redis.call('HMGET', k.use(ws), 'waiting', 'bytes')
return {'ok', redis.call('HGETALL', k.ws(ws)), use[1] or '0', use[2] or '0'}
