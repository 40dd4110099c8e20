-- Waiting runs: a stream a lane, the non-empty lanes of a queue by virtual time (stride scheduling: the lowest is served next, and moves on by its stride).
-- `again` lanes (runs taken back) stay in front of all: there are few, because losses and hand-backs are bounded.
local STRIDE = {high = 1, normal = 4, low = 16, again = 0}
local BELL_MAX = 64

local function bell_ring(queue)
  if redis.call('LPUSH', k.bell(queue), '1') > BELL_MAX then
    redis.call('LTRIM', k.bell(queue), 0, BELL_MAX - 1)
  end
end

-- Puts a run at the end of its lane. A lane that was empty begins one stride behind what is served now, so that idle time saves up no credit.
local function lane_add(run, prio)
  local lane = run.ws .. ':' .. prio .. ':' .. run.req
  local key = k.lane(run.queue, lane)
  if redis.call('EXISTS', key) == 0 then
    local vt = tonumber(redis.call('GET', k.vt(run.queue)) or '0')
    redis.call('ZADD', k.lanes(run.queue), prio == 'again' and -1 or fmt(vt + STRIDE[prio]), lane)
  end
  local entry = redis.call('XADD', key, '*', 'r', run.id)
  redis.call('HSET', k.run(run.id), 'lane', lane, 'laneId', entry)
  redis.call('HINCRBY', k.queued, run.queue, 1)
  bell_ring(run.queue)
end

-- Forgets an entry of a lane, and the lane when it was the last one.
local function lane_drop(queue, lane, entry)
  local key = k.lane(queue, lane)
  redis.call('XDEL', key, entry)
  local left = redis.call('XLEN', key)
  if left == 0 then
    redis.call('DEL', key)
    redis.call('ZREM', k.lanes(queue), lane)
  end
  if redis.call('HINCRBY', k.queued, queue, -1) <= 0 then
    redis.call('HDEL', k.queued, queue)
  end
  if redis.call('EXISTS', k.lanes(queue)) == 0 then
    redis.call('DEL', k.vt(queue)) -- nobody waits: virtual time begins anew
  end
  return left
end

-- Takes a queued run (fields queue, lane, laneId) out of its lane.
local function lane_remove(run)
  lane_drop(run.queue, run.lane, run.laneId)
  redis.call('HDEL', k.run(run.id), 'lane', 'laneId')
end

-- Makes a run wait for its due time, and says so where it is the first.
local function delay_add(run, due)
  local first = redis.call('ZRANGE', k.delayed, 0, 0, 'WITHSCORES')
  redis.call('ZADD', k.delayed, fmt(due), run.id)
  redis.call('HSET', k.run(run.id), 'due', fmt(due))
  redis.call('HINCRBY', k.scheduled, run.queue, 1)
  if not first[2] or tonumber(first[2]) > due then
    redis.call('PUBLISH', k.due, fmt(due))
  end
end

-- Forgets a run's due time.
local function delay_remove(run)
  redis.call('ZREM', k.delayed, run.id)
  redis.call('HDEL', k.run(run.id), 'due')
  if redis.call('HINCRBY', k.scheduled, run.queue, -1) <= 0 then
    redis.call('HDEL', k.scheduled, run.queue)
  end
end
