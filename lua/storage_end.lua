#!lua flags=allow-oom
-- storage_end: the Redis user of an attempt is gone from every server.
-- INCLUDE keys
-- ARGV
--   run      str
--   attempt  int
-- REPLY
-- ERRORS

redis.call('ZREM', k.storageusers, run .. ' ' .. fmt(attempt))
return {'ok'}
