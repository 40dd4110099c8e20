#!lua flags=allow-oom
-- claim: takes up to max waiting runs from the lowest lanes that this runner can serve; each gets a new attempt and epoch, `queued` → `provisioning`. Rings the bell again when more waits.
-- INCLUDE keys time run lane stream
-- ARGV
--   inc       str
--   claim_no  int   this claim's number; one at or below what a heartbeat settled is refused (its answer would be lost)
--   max       int   free slots
--   rid       str   Redis server's run id as the caller's connection sees it (the fence's restart gap)
--   queues    list
--   reqs      list  requirement digests it can serve, '-' among them
-- REPLY
--   runs      table(run str, ws str, agent str, attempt int, epoch int, first_seq int, last_t_ms int, event_count int, event_bytes int, failures int, max_attempts int, timeout_ms int, grace_ms int, backoff_type str, backoff_base_ms int, backoff_cap_ms int, source str, executor str, def str, input str, env str, traceparent str)
--   more      int   1 when runs are left that it could serve
--   now_ms    int   Redis time
-- ERRORS incarnation_dead stale_claim

local MAX_CLAIM, LOOK = 64, 64
local runner = redis.call('HMGET', k.runner(inc), 'state', 'answered', 'name')
if runner[1] ~= 'live' and runner[1] ~= 'draining' then
  return {'incarnation_dead'}
end
if claim_no <= tonumber(runner[2]) then
  return {'stale_claim'}
end
local served = {}
for _, req in ipairs(reqs) do
  served[req] = true
end

-- The lowest lane of a queue that this runner can serve, with its virtual time.
local function lowest(queue)
  local lanes = redis.call('ZRANGE', k.lanes(queue), 0, LOOK - 1, 'WITHSCORES')
  for i = 1, #lanes, 2 do
    local req = string.match(lanes[i], ':([^:]*)$')
    if served[req] then
      return lanes[i], tonumber(lanes[i + 1])
    end
  end
end

-- Takes the head of a lane and moves the lane on; nil when the entry names no waiting run (it is dropped then).
local function pop(queue, lane, vt)
  local entry = redis.call('XRANGE', k.lane(queue, lane), '-', '+', 'COUNT', 1)[1]
  if not entry then
    redis.call('ZREM', k.lanes(queue), lane)
    return nil
  end
  local prio = string.match(lane, '^[^:]*:([^:]*):')
  if vt >= 0 then
    redis.call('SET', k.vt(queue), fmt(vt))
  end
  if lane_drop(queue, lane, entry[1]) > 0 then
    redis.call('ZADD', k.lanes(queue), 'XX', fmt(vt + STRIDE[prio]), lane)
  end
  return entry[2][2]
end

-- A new attempt with its epoch: `queued` to `provisioning`.
local function attempt_begin(id)
  local run = run_get(id, {'ws', 'agent', 'def', 'input', 'env', 'traceparent', 'epoch', 'attempt', 'failures', 'maxAttempts', 'timeoutMs', 'graceMs',
    'backoffType', 'backoffBaseMs', 'backoffCapMs', 'source', 'executor', 'rid'})
  if not run or run.status ~= 'queued' then
    return nil
  end
  local before = tail(id)
  local n = tonumber(run.attempt) + 1
  local epoch = math.max(tonumber(run.epoch) + 1, now_ms)
  local first = seq_after(before.last, run.rid, rid)
  run_move(run, 'provisioning')
  redis.call('HDEL', k.run(id), 'lane', 'laneId')
  redis.call('HSET', k.run(id), 'attempt', n, 'epoch', fmt(epoch), 'inc', inc, 'claimNo', fmt(claim_no), 'rid', rid,
    af(n, 'epoch'), fmt(epoch), af(n, 'first'), fmt(first), af(n, 'runner'), runner[3] or '', af(n, 'inc'), inc, af(n, 'executor'), run.executor,
    af(n, 'status'), 'provisioning', af(n, 'claimed'), fmt(now_ms), af(n, 'by'), '')
  local old = n - KEPT_ATTEMPTS
  if old > 0 then
    redis.call('HDEL', k.run(id), af(old, 'epoch'), af(old, 'first'), af(old, 'runner'), af(old, 'inc'), af(old, 'executor'), af(old, 'status'), af(old, 'claimed'),
      af(old, 'started'), af(old, 'ended'), af(old, 'exit'), af(old, 'error'), af(old, 'handle'), af(old, 'stats'), af(old, 'tok'), af(old, 'by'))
  end
  redis.call('ZADD', k.held(inc), fmt(epoch), id)
  return {id, run.ws, run.agent, n, epoch, first, before.t, before.c, before.z, run.failures, run.maxAttempts, run.timeoutMs, run.graceMs,
    run.backoffType, run.backoffBaseMs, run.backoffCapMs, run.source, run.executor, redis.call('HGET', k.def(run.def), 'json') or '', run.input, run.env, run.traceparent}
end

redis.call('HSET', k.runner(inc), 'claimNo', fmt(claim_no))
local runs, idle = {}, 0
local turn = claim_no % #queues -- several queues take turns in going first
max = math.min(max, MAX_CLAIM)
for _ = 1, 4 * MAX_CLAIM do
  if #runs >= max or idle >= #queues then
    break
  end
  local queue = queues[turn % #queues + 1]
  turn = turn + 1
  local lane, vt = lowest(queue)
  if lane then
    idle = 0
    local id = pop(queue, lane, vt)
    local row = id and attempt_begin(id)
    if row then
      runs[#runs + 1] = row
    end
  else
    idle = idle + 1
  end
end
local more = 0
for _, queue in ipairs(queues) do
  if lowest(queue) then
    more = 1
    bell_ring(queue)
  end
end
return {'ok', runs, more, now_ms}
