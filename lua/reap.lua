#!lua flags=allow-oom
-- reap: marks runners dead whose lease is over, takes back their runs in bounded steps, removes them when nothing is left; continues stops of large trees. Any node, each second.
-- After an outage (its own last tick is more than 3 s old, or ahead of now) nobody is reaped for one lease, and deadlines are capped at now + one lease.
-- INCLUDE keys time run lane stream close stop
-- ARGV
--   lease_ms     int
--   max          int   most runs to take back
--   max_losses   int   lost runners a run survives
--   rid          str
--   retention_ms int
-- REPLY
--   taken        int
--   more         int   1: call again at once
-- ERRORS

local OUTAGE_MS, RUNNERS, CAPPED = 3000, 16, 1000
local last = redis.call('HMGET', k.reap, 'tick', 'until')
local tick, not_before = tonumber(last[1] or '0'), tonumber(last[2] or '0')
if now_ms - tick > OUTAGE_MS or tick > now_ms then
  -- Nobody looked for a while (or the clock went back): runners could not renew either, so each gets one whole lease.
  not_before = now_ms + lease_ms
  local beyond = redis.call('ZRANGEBYSCORE', k.leases, '(' .. fmt(now_ms + lease_ms), '+inf', 'LIMIT', 0, CAPPED)
  for _, inc in ipairs(beyond) do
    redis.call('ZADD', k.leases, fmt(now_ms + lease_ms), inc)
  end
end
redis.call('HSET', k.reap, 'tick', fmt(now_ms), 'until', fmt(not_before))

local taken, more = 0, 0
if now_ms >= not_before then
  local expired = redis.call('ZRANGEBYSCORE', k.leases, '-inf', now_ms, 'LIMIT', 0, RUNNERS)
  for _, inc in ipairs(expired) do
    redis.call('HSET', k.runner(inc), 'state', 'dead') -- first: from here on nothing of it is accepted
    local runs = max > taken and redis.call('ZRANGE', k.held(inc), 0, max - taken - 1) or {}
    for _, id in ipairs(runs) do
      redis.call('ZREM', k.held(inc), id)
      local run = run_get(id, CLOSE_FIELDS)
      if run then
        take_back(run, 'reap', max_losses, rid, retention_ms)
      end
      taken = taken + 1
    end
    if redis.call('EXISTS', k.held(inc)) == 0 then
      redis.call('DEL', k.runner(inc))
      redis.call('ZREM', k.leases, inc)
    else
      more = 1
    end
  end
  if #expired == RUNNERS then
    more = 1
  end
end
if redis.call('EXISTS', k.stopq) == 1 and stop_descendants(max, rid, retention_ms) then
  more = 1
end
return {'ok', taken, more}
