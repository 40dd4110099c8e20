#!lua flags=allow-oom
-- heartbeat: renews a runner's lease and reconciles what it holds with what Redis says. Held here but not by the runner, and claimed at or before the answered number: the claim's reply was lost, or the attempt was; it is closed and the run goes to the front again.
-- INCLUDE keys time later run lane gate stream hook close
-- ARGV
--   inc          str
--   lease_ms     int
--   answered     int   highest claim number that was answered or given up
--   draining     int
--   busy         int
--   rid          str
--   retention_ms int
--   max_losses   int   lost attempts a run survives
--   held         table(run str, epoch int)
-- REPLY
--   kill         table(run str, epoch int)  attempts it must kill: held by it, but not (or not with this epoch) in Redis
--   stops        list  runs it holds for which a stop was asked
--   claimed      list  runs it holds (remote) whose end was claimed
--   drain        int   1: it was told to drain
--   more         int   1: what it lost is not all taken back; beat again at once
--   now_ms       int
-- ERRORS incarnation_dead

local LOST_MS = 2000 -- how much a Redis that crashed may have lost
local runner = redis.call('HMGET', k.runner(inc), 'state', 'answered', 'drain', 'seen', 'rid')
if not runner[1] or runner[1] == 'dead' then
  return {'incarnation_dead'}
end
if runner[5] and runner[5] ~= rid_short(rid) then
  -- The first one since a restart. A runner that had not been heard of for about a lease while others were may have been declared dead in what Redis lost, and readers have seen the ends that the reaper wrote under the
  -- numbers that the runner gave its events meanwhile. So it is dead now; its runs are taken back under numbers that nobody has seen.
  local reaper = redis.call('HMGET', k.reap, 'tick', 'before', 'rid')
  local tick = tonumber((reaper[3] == rid_short(rid) and reaper[2] or reaper[1]) or '0')
  if tick - tonumber(runner[4]) > math.max(lease_ms / 2, lease_ms - LOST_MS) then
    redis.call('HSET', k.runner(inc), 'state', 'dead')
    redis.call('ZADD', k.leases, fmt(now_ms), inc)
    return {'incarnation_dead'}
  end
end
redis.call('ZADD', k.leases, fmt(now_ms + lease_ms), inc)
answered = math.max(answered, tonumber(runner[2]))
redis.call('HSET', k.runner(inc), 'answered', fmt(answered), 'busy', fmt(busy), 'seen', fmt(now_ms), 'rid', rid_short(rid), 'state', draining == 1 and 'draining' or 'live')

local in_redis = {}
local list = redis.call('ZRANGE', k.held(inc), 0, -1, 'WITHSCORES') -- bounded by the runner's slots
for i = 1, #list, 2 do
  in_redis[list[i]] = tonumber(list[i + 1])
end
local kill, stops, claimed = {}, {}, {}
for _, row in ipairs(held) do
  if in_redis[row.run] == row.epoch then
    in_redis[row.run] = nil
    local asked = redis.call('HMGET', k.run(row.run), 'stopAt', 'claimStatus')
    if asked[1] then
      stops[#stops + 1] = row.run
    end
    if asked[2] then
      claimed[#claimed + 1] = row.run
    end
  else
    kill[#kill + 1] = {row.run, row.epoch}
  end
end
local more = 0
for id in pairs(in_redis) do
  if work >= WORK_MAX then
    more = 1
    break
  end
  local r = run_get(id, CLOSE_FIELDS)
  local _, _, _, claim_no = attempt_claim(r and redis.call('HGET', k.run(id), 'a' .. r.attempt))
  if not r then
    redis.call('ZREM', k.held(inc), id)
  elseif claim_no <= answered then
    run_policy(r, CLOSE_POLICY)
    if r.stopAt ~= '' or r.claimStatus ~= '' or r.atMostOnce == '1' or redis.call('HEXISTS', k.run(id), af(r.attempt, 'tok')) == 1 then
      -- It was executed: the runner was cut off and gave it up, or Redis lost its end. That is a loss. (Its start may not have been told: with atMostOnce that decides.)
      take_back(r, 'heartbeat', max_losses, rid, retention_ms)
    else
      -- The answer to that claim was lost: the runner never knew of the run, so nothing of it was executed.
      attempt_close(r, 'handed_back', 'heartbeat')
      run_back(r)
    end
  end
end
return {'ok', kill, stops, claimed, runner[3] and 1 or 0, more, now_ms}
