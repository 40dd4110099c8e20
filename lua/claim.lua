#!lua flags=allow-oom
-- claim: takes up to max waiting runs that this runner can serve; each gets a new attempt and epoch, `queued` → `provisioning`. Rings the bell again when more waits.
-- INCLUDE keys time run lane gate stream served deps
-- ARGV
--   inc       str
--   claim_no  int   this claim's number; one at or below what a heartbeat settled is refused (its answer would be lost)
--   max       int   free slots
--   rid       str   Redis server's run id as the caller's connection sees it (the fence's restart gap)
--   queues    list
-- REPLY
--   runs      table(run str, ws str, agent str, attempt int, epoch int, first_seq int, last_t_ms int, event_count int, event_bytes int, timeout_ms int, stall_ms int, grace_ms int, slots int, source str, executor str, def str, input str, env str, traceparent str, dependencies str)
--   more      int   1 when runs are left that it could serve
--   now_ms    int   Redis time
--   saving    int   1: the slots that are left are kept for a run that needs more of them
-- ERRORS incarnation_dead stale_claim

local MAX_CLAIM, MAX_BYTES, HOLD_MS = 64, 1048576, 30000 -- runs of a claim; what they carry, where that is much: at least one comes; a hold's time
local runner = redis.call('HMGET', k.runner(inc), 'state', 'answered', 'name', 'executors', 'tags', 'slots', 'serves', 'servesAt', 'enforces')
if runner[1] ~= 'live' and runner[1] ~= 'draining' then
  return {'incarnation_dead'}
end
if claim_no <= tonumber(runner[2]) then
  return {'stale_claim'}
end

-- The requirements that this runner meets: kept in its record, worked out anew when others have come.
local function requirements()
  local version = redis.call('HGET', k.reqs, '#')
  if not version then
    return req_met('', runner[4] or '', '', '', 1) and {'-'} or {}, {}
  end
  local texts, list = {}, {}
  local all = redis.call('HGETALL', k.reqs)
  for i = 1, #all, 2 do
    texts[all[i]] = all[i + 1]
  end
  if runner[8] == version then
    for _, req in ipairs(split(runner[7])) do
      list[#list + 1] = req
    end
    return list, texts
  end
  texts['-'] = ''
  for req, text in pairs(texts) do
    if req ~= '#' and req_met(text, runner[4] or '', runner[5] or '', runner[9] or '', tonumber(runner[6]) or 1) then
      list[#list + 1] = req
    end
  end
  table.sort(list)
  redis.call('HSET', k.runner(inc), 'serves', table.concat(list, ' '), 'servesAt', version)
  return list, texts
end

local weights = {}
local function stride_of(ws)
  weights[ws] = weights[ws] or WS_STRIDE / weight_of(ws)
  return weights[ws]
end

-- Takes the next run of a queue and requirement and moves its workspace and lane on. Returns its id; false when what was there was stale (call again); nil when nothing waits.
local function pop(queue, req)
  local top = redis.call('ZRANGE', k.lanes(queue, req), 0, 0, 'WITHSCORES')
  if not top[1] then
    return nil
  end
  local ws, prio, at = string.match(top[1], '^!(.*)$'), 'again', nil
  if not ws then
    ws = top[1]
    local first = redis.call('ZRANGE', k.prios(queue, req, ws), 0, 0, 'WITHSCORES')
    prio, at = first[1], tonumber(first[2])
    redis.call('SET', k.vt(queue, req), top[2])
  end
  local entry = prio and redis.call('XRANGE', k.lane(queue, req, ws, prio), '-', '+', 'COUNT', 1)[1]
  if not entry then
    redis.call('ZREM', k.lanes(queue, req), top[1])
    return false
  end
  local left = lane_drop(queue, req, ws, prio, entry[1])
  if at then
    if left > 0 then
      redis.call('ZADD', k.prios(queue, req, ws), 'XX', at + STRIDE[prio], prio)
    end
    redis.call('ZADD', k.lanes(queue, req), 'XX', tonumber(top[2]) + stride_of(ws), ws)
  end
  return entry[2][2]
end

-- A new attempt with its epoch: `queued` to `provisioning`.
local function attempt_begin(id)
  local run = run_get(id, {'ws', 'queue', 'req', 'createdUs', 'agent', 'def', 'input', 'env', 'traceparent', 'epoch', 'attempt', 'timeoutMs', 'stallMs', 'source', 'executor', 'rid', 'gates', 'deps', 'slots'})
  if not run or run.status ~= 'queued' then
    return nil
  end
  run_policy(run, {'json', 'timeoutMs', 'stallMs', 'graceMs'})
  stream_make(id)
  local before = tail(id)
  local n = tonumber(run.attempt) + 1
  local epoch = math.max(tonumber(run.epoch) + 1, now_ms)
  local first = seq_after(run, before.last, rid)
  run_move(run, 'provisioning')
  redis.call('HDEL', k.run(id), 'lane', 'laneId', 'waitingFor', 'asked')
  redis.call('HSET', k.run(id), 'attempt', n, 'epoch', fmt(epoch), 'inc', inc, 'claimNo', fmt(claim_no), 'rid', rid_short(rid),
    af(n, 'epoch'), fmt(epoch), af(n, 'first'), fmt(first), af(n, 'runner'), runner[3] or '', af(n, 'inc'), inc, af(n, 'executor'), run.executor,
    af(n, 'status'), 'provisioning', af(n, 'claimed'), fmt(now_ms), af(n, 'by'), '')
  local old = n - KEPT_ATTEMPTS
  if old > 0 then
    redis.call('HDEL', k.run(id), af(old, 'epoch'), af(old, 'first'), af(old, 'runner'), af(old, 'inc'), af(old, 'executor'), af(old, 'status'), af(old, 'claimed'),
      af(old, 'started'), af(old, 'ended'), af(old, 'exit'), af(old, 'error'), af(old, 'handle'), af(old, 'stats'), af(old, 'tok'), af(old, 'by'), af(old, 'secrets'))
  end
  redis.call('ZADD', k.held(inc), fmt(epoch), id)
  if run.gates ~= '' then
    gates_started(run)
  end
  local slots = tonumber(run.slots) or 1
  local input, env = run_input(run)
  local dependencies = run.deps ~= '' and dependencies_of(run.deps) or ''
  return {id, run.ws, run.agent, n, epoch, first, before.t, before.c, before.z, run.timeoutMs, tonumber(run.stallMs) or 0, run.graceMs, slots,
    run.source, run.executor, run.json, input, env, run.traceparent, dependencies}, slots, #run.json + #input + #env + #dependencies
end

-- Queues where something waits and that are not paused.
local function open_queues()
  local counts = redis.call('HMGET', k.queued, unpack(queues))
  local open = {}
  for i, queue in ipairs(queues) do
    if counts[i] and not redis.call('HGET', k.queue(queue), 'paused') then
      open[#open + 1] = queue
    end
  end
  return open
end

redis.call('HSET', k.runner(inc), 'claimNo', fmt(claim_no))
local open = open_queues()
local served, texts = {}, {}
if #open > 0 then
  served, texts = requirements()
end
local lines = {} -- what there is to take from, and at how many slots a run
local slots_of = {}
for _, req in ipairs(served) do
  slots_of[req] = req_slots(texts[req] or '')
end
for _, queue in ipairs(open) do
  for _, req in ipairs(served) do
    lines[#lines + 1] = {queue = queue, req = req, slots = slots_of[req]}
  end
end
-- One runner at a time takes nothing else until a large run fits; else small ones would never leave it room. The bell that woke it may have rung for one of those: another runner is to hear it.
local function keep_slots(runs)
  for _, line in ipairs(lines) do
    if line.slots <= max and redis.call('EXISTS', k.lanes(line.queue, line.req)) == 1 then
      bell_ring(line.queue)
      break
    end
  end
  return {'ok', runs, 0, now_ms, 1}
end
local turn = claim_no -- several lines take turns in going first
for i, line in ipairs(lines) do
  if line.slots > 1 and redis.call('GET', k.hold(line.queue, line.req)) == inc then
    if line.slots > max and redis.call('EXISTS', k.lanes(line.queue, line.req)) == 1 then
      redis.call('PEXPIRE', k.hold(line.queue, line.req), HOLD_MS) -- it ends early only with its runner
      return keep_slots({})
    end
    turn = i - 1
  end
end
local runs, free, idle, bytes = {}, max, 0, 0
while free > 0 and #runs < MAX_CLAIM and bytes < MAX_BYTES and idle < #lines do
  local line = lines[turn % #lines + 1]
  turn = turn + 1
  idle = idle + 1
  local fits = line.slots <= free
  if not fits and redis.call('EXISTS', k.lanes(line.queue, line.req)) == 1 and redis.call('SET', k.hold(line.queue, line.req), inc, 'NX', 'PX', HOLD_MS) then
    return keep_slots(runs)
  end
  local id = fits and pop(line.queue, line.req)
  local row, cost, carried
  if id then
    row, cost, carried = attempt_begin(id)
  elseif fits and id == nil then
    line.empty = true
  end
  if row then
    runs[#runs + 1] = row
    free = free - cost
    bytes = bytes + carried
    if line.slots > 1 then
      redis.call('DEL', k.hold(line.queue, line.req))
    end
  end
  if id or (fits and id == false) then
    idle = 0
  end
end
local more, rung = 0, {}
for _, line in ipairs(lines) do
  if not line.empty and not rung[line.queue] and (free == 0 or line.slots <= free) and redis.call('EXISTS', k.lanes(line.queue, line.req)) == 1 then
    more = 1
    rung[line.queue] = true
    bell_ring(line.queue)
  end
end
return {'ok', runs, more, now_ms, 0}
