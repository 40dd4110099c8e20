-- queues: waiting runs by queue, and how many are delayed.
-- READONLY
-- INCLUDE keys
-- ARGV
--   limit    int
-- REPLY
--   queues   table(name str, waiting int)
--   delayed  int
-- ERRORS

local all = redis.call('HGETALL', k.queued)
local queues = {}
for i = 1, math.min(#all, 2 * limit), 2 do
  queues[#queues + 1] = {all[i], all[i + 1]}
end
return {'ok', queues, redis.call('ZCARD', k.delayed)}
