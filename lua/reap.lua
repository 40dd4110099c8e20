#!lua flags=allow-oom
-- reap: marks runners dead whose lease is over, takes back their runs in bounded steps, removes them when nothing is left; continues stops of large trees. Any node, each second.
-- A runner whose process is gone has no subscription to its control channel any more: its lease is shortened to SUSPECT_MS (one that only reconnects sends a heartbeat before that). It is never shortened while nobody is reaped.
-- After an outage (its own last tick is more than 3 s old, or ahead of now; or Redis restarted, however quickly: then all subscriptions are gone) nobody is reaped for one lease, and deadlines are capped at now + one lease.
-- INCLUDE keys time later run lane gate stream hook close stop
-- ARGV
--   lease_ms     int
--   max          int   most runs to take back
--   max_losses   int   lost runners a run survives
--   rid          str
--   retention_ms int
-- REPLY
--   taken        int
--   more         int   1: call again at once
--   next_ms      int   when a runner that looks dead will be: milliseconds, 0 for none
-- ERRORS

local OUTAGE_MS, RUNNERS, CAPPED, SUSPECT_MS = 3000, 16, 1000, 1500
local last = redis.call('HMGET', k.reap, 'tick', 'until', 'rid')
local tick, not_before = tonumber(last[1] or '0'), tonumber(last[2] or '0')
if last[3] and last[3] ~= rid_short(rid) then
  redis.call('HSET', k.reap, 'before', fmt(tick)) -- for the heartbeats that come after the restart
end
-- Where nobody ever looked and no runner has a lease, there was no outage to be patient after: the first runner of a deployment is taken for lost as soon as any later one.
local first = not last[1] and redis.call('EXISTS', k.leases) == 0
if first then
  not_before = now_ms
elseif now_ms - tick > OUTAGE_MS or tick > now_ms or (last[3] and last[3] ~= rid_short(rid)) then
  -- Nobody looked for a while (or the clock went back): runners could not renew either, so each gets one whole lease.
  not_before = now_ms + lease_ms
  local beyond = redis.call('ZRANGEBYSCORE', k.leases, '(' .. fmt(now_ms + lease_ms), '+inf', 'LIMIT', 0, CAPPED)
  for _, inc in ipairs(beyond) do
    redis.call('ZADD', k.leases, fmt(now_ms + lease_ms), inc)
  end
end
redis.call('HSET', k.reap, 'tick', fmt(now_ms), 'until', fmt(not_before), 'rid', rid_short(rid))

-- Shortens the leases of runners that nobody listens for; the time until the first of them is over, 0 for none.
local function suspect()
  local incs = redis.call('ZRANGEBYSCORE', k.leases, '(' .. fmt(now_ms), '+inf', 'LIMIT', 0, CAPPED)
  local channels = {}
  for i, inc in ipairs(incs) do
    channels[i] = k.ctl(inc)
  end
  local listeners = #channels > 0 and redis.call('PUBSUB', 'NUMSUB', unpack(channels)) or {}
  local next_ms = 0
  for i, inc in ipairs(incs) do
    if listeners[2 * i] == 0 and redis.call('HGET', k.runner(inc), 'adopts') ~= '1' then -- a successor may take its runs over until its lease is over
      local deadline = math.min(tonumber(redis.call('ZSCORE', k.leases, inc)), now_ms + SUSPECT_MS)
      redis.call('ZADD', k.leases, fmt(deadline), inc)
      next_ms = next_ms == 0 and deadline - now_ms or math.min(next_ms, deadline - now_ms)
    end
  end
  return next_ms
end

local taken, more, next_ms = 0, 0, 0
if now_ms >= not_before then
  next_ms = suspect()
  local expired = redis.call('ZRANGEBYSCORE', k.leases, '-inf', now_ms, 'LIMIT', 0, RUNNERS)
  for _, inc in ipairs(expired) do
    redis.call('HSET', k.runner(inc), 'state', 'dead') -- first: from here on nothing of it is accepted
    local runs = max > taken and redis.call('ZRANGE', k.held(inc), 0, max - taken - 1) or {}
    for _, id in ipairs(runs) do
      if work >= WORK_MAX then
        break
      end
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
work = math.min(work, WORK_PART) -- a part is left for trees, however many runners died
if redis.call('EXISTS', k.stopq) == 1 and stop_descendants(max, rid, retention_ms) then
  more = 1
end
return {'ok', taken, more, next_ms}
