-- Waiting runs. A lane is a stream: the runs of one queue, requirement, workspace and priority. Two levels of stride scheduling choose the next one: of a queue's workspaces the one with the lowest
-- virtual time (it then moves on by 100 / weight), of its priorities likewise (by STRIDE). So no workspace gets more by having more lanes, and low always moves.
-- `again` lanes (runs taken back) stay in front of all: there are few, because losses and hand-backs are bounded.
local STRIDE = {high = 1, normal = 4, low = 16}
local WS_STRIDE = 100
local BELL_MAX, BELL_MS = 64, 60000
local due_told -- true in promote, whose caller hears of the next due time by its reply
-- EACH CALL
due_told = false

-- n: runs that came (one, if it is not said). It rings once for each, but not without end: who is woken takes as many as it has room for.
local function bell_ring(queue, n)
  local rung = redis.call('LLEN', k.bell(queue))
  local words = {}
  for i = 1, math.min(n or 1, BELL_MAX - rung) do
    words[i] = '1'
  end
  if words[1] then
    redis.call('LPUSH', k.bell(queue), unpack(words))
  end
  if rung == 0 then
    redis.call('PEXPIRE', k.bell(queue), BELL_MS) -- of a queue that nobody listens to none is left
  end
end

local function weight_of(ws)
  return tonumber(redis.call('HGET', k.ws(ws), 'weight') or '1')
end

-- Puts a lane that has become non-empty among those that are served; one stride behind what is served now, so that idle time saves up no credit.
local function lane_open(queue, req, ws, prio)
  if prio == 'again' then
    redis.call('ZADD', k.lanes(queue, req), -1, '!' .. ws)
  else
    local first = redis.call('ZRANGE', k.prios(queue, req, ws), 0, 0, 'WITHSCORES')
    local now = first[1] and tonumber(first[2]) - STRIDE[first[1]] or 0
    redis.call('ZADD', k.prios(queue, req, ws), now + STRIDE[prio], prio)
    if not first[1] then
      local vt = tonumber(redis.call('GET', k.vt(queue, req)) or '0')
      redis.call('ZADD', k.lanes(queue, req), vt + WS_STRIDE / weight_of(ws), ws)
    end
  end
end

-- Puts a run at the end of its lane; somebody has to ring. Returns its entry's id.
local function lane_put(id, queue, req, ws, prio)
  local key = k.lane(queue, req, ws, prio)
  local entry = redis.call('XADD', key, 'NOMKSTREAM', '*', 'r', id)
  if not entry then
    lane_open(queue, req, ws, prio)
    entry = redis.call('XADD', key, '*', 'r', id)
  end
  return entry
end

-- The same for a run that is made at this moment (created: µs as text). A record says where its run waits only as far as it is not known otherwise: `lane` where that is not its priority's, `laneId` where the entry's id is not made of
-- `createdUs`, MS-SEQ of MS * 1000 + SEQ. It is, but where the clock went back: then its entry is the next one, and its id is returned for `laneId`.
local function lane_begin(id, queue, req, ws, prio, created)
  local key, place = k.lane(queue, req, ws, prio), string.sub(created, 1, -4) .. '-' .. string.sub(created, -3)
  local entry = redis.pcall('XADD', key, 'NOMKSTREAM', place, 'r', id)
  if not entry then
    lane_open(queue, req, ws, prio)
    redis.call('XADD', key, place, 'r', id)
  elseif type(entry) == 'table' and entry.err then
    return redis.call('XADD', key, '*', 'r', id)
  end
  return nil
end

-- The entry of a queued run (createdUs, laneId) that waits at no gate.
local function lane_id(run)
  return run.laneId ~= '' and run.laneId or string.sub(run.createdUs, 1, -4) .. '-' .. fmt(string.sub(run.createdUs, -3))
end

-- The same for a run (id, ws, queue, req) that has a record; rings.
local function lane_add(run, prio)
  local entry = lane_put(run.id, run.queue, run.req, run.ws, prio)
  if prio == 'again' then
    redis.call('HSET', k.run(run.id), 'laneId', entry, 'lane', prio)
  else
    redis.call('HSET', k.run(run.id), 'laneId', entry)
  end
  bell_ring(run.queue)
end

-- Forgets a lane that has become empty.
local function lane_gone(queue, req, ws, prio)
  redis.call('DEL', k.lane(queue, req, ws, prio))
  redis.call('HDEL', k.told, queue .. ':' .. req .. ':' .. ws .. ':' .. prio)
  if prio == 'again' then
    redis.call('ZREM', k.lanes(queue, req), '!' .. ws)
  else
    redis.call('ZREM', k.prios(queue, req, ws), prio)
    if redis.call('EXISTS', k.prios(queue, req, ws)) == 0 then
      redis.call('ZREM', k.lanes(queue, req), ws)
    end
  end
  if redis.call('EXISTS', k.lanes(queue, req)) == 0 then
    redis.call('DEL', k.vt(queue, req)) -- nobody waits: virtual time begins anew
  end
end

-- Takes a queued run (fields queue, req, ws, priority, createdUs, lane, laneId) that waits at no gate out of its lane.
local function lane_remove(run)
  local prio, id = run.lane ~= '' and run.lane or run.priority, lane_id(run)
  local key = k.lane(run.queue, run.req, run.ws, prio)
  local entry = redis.call('XRANGE', key, id, id)[1]
  if entry and entry[2][2] == run.id then -- not so for one that got no further than its record
    redis.call('XDEL', key, id)
    if redis.call('XLEN', key) == 0 then
      lane_gone(run.queue, run.req, run.ws, prio)
    end
  end
  redis.call('HDEL', k.run(run.id), 'lane', 'laneId', 'waitingFor')
end

-- Makes a run wait for its due time, and says so where it is the first.
local function delay_add(run, due)
  local first = redis.call('ZRANGE', k.delayed, 0, 0, 'WITHSCORES')
  redis.call('ZADD', k.delayed, fmt(due), run.id)
  redis.call('HSET', k.run(run.id), 'due', fmt(due))
  if not due_told and (not first[2] or tonumber(first[2]) > due) then
    redis.call('PUBLISH', k.due, fmt(due))
  end
end

-- Forgets a run's due time.
local function delay_remove(run)
  redis.call('ZREM', k.delayed, run.id)
  redis.call('HDEL', k.run(run.id), 'due')
end
