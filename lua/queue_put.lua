#!lua flags=allow-oom
-- queue_put: changes a queue's settings in this shard; what is not named stays. Repeating it changes nothing. It works while Redis is full: pausing may be what helps.
-- INCLUDE keys time lane
-- ARGV
--   name        str
--   paused      int   -1 leaves it
--   draining    int   -1 leaves it
--   max_waiting int   -1 leaves it, 0 removes it
--   max_queues  int   queues that may have settings
-- REPLY
--   paused      int
--   draining    int
--   max_waiting int   0 for none
-- ERRORS limit_exceeded

local key = k.queue(name)
if redis.call('EXISTS', key) == 0 and redis.call('ZCARD', k.queues) >= max_queues then
  return {'limit_exceeded'}
end
for field, value in pairs({paused = paused, draining = draining, maxWaiting = max_waiting}) do
  if value > 0 then
    redis.call('HSET', key, field, fmt(value))
  elseif value == 0 then
    redis.call('HDEL', key, field)
  end
end
if redis.call('EXISTS', key) == 1 then
  redis.call('ZADD', k.queues, 0, name)
else
  redis.call('ZREM', k.queues, name)
end
if paused == 0 and redis.call('HEXISTS', k.queued, name) == 1 then
  bell_ring(name) -- who claims wakes the next one
end
local now = redis.call('HMGET', key, 'paused', 'draining', 'maxWaiting')
return {'ok', now[1] or '0', now[2] or '0', now[3] or '0'}
