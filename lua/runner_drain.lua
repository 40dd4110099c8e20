#!lua flags=allow-oom
-- runner_drain: asks runners to end as at SIGTERM: the incarnation of that id, and those of the node of that name. Repeating it asks again, which changes nothing.
-- INCLUDE keys
-- ARGV
--   id     str   an incarnation's id, or a node's name
--   limit  int   incarnations looked at, at most
-- REPLY
--   found  int   incarnations that were asked in this shard
-- ERRORS

local found = 0
local list = redis.call('EXISTS', k.runner(id)) == 1 and {id} or redis.call('ZRANGE', k.leases, 0, limit - 1)
for _, inc in ipairs(list) do
  local runner = redis.call('HMGET', k.runner(inc), 'state', 'name')
  if (inc == id or runner[2] == id) and (runner[1] == 'live' or runner[1] == 'draining') then
    redis.call('HSET', k.runner(inc), 'drain', '1') -- its heartbeat tells it, should the message be lost
    redis.call('PUBLISH', k.ctl(inc), 'drain')
    found = found + 1
  end
end
return {'ok', found}
