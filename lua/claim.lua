#!lua flags=allow-oom
-- claim: takes up to max waiting runs that this runner can serve; each gets a new attempt and epoch, `queued` → `provisioning`. Rings the bell again when more waits.
-- INCLUDE keys time later run lane gate stream served deps
-- ARGV
--   inc       str
--   claim_no  int   this claim's number; one at or below what a heartbeat settled is refused (its answer would be lost)
--   max       int   free slots
--   rid       str   Redis server's run id as the caller's connection sees it (the fence's restart gap)
--   queues    list
-- REPLY
--   runs      rows(run str, ws str, agent str, attempt int, epoch int, first_seq int, last_t_ms int, event_count int, event_bytes int, timeout_ms int, stall_ms int, grace_ms int, slots int, source str, executor str, def str, input str, env str, traceparent str, dependencies str)
--   more      int   1 when runs are left that it could serve
--   now_ms    int   Redis time
--   saving    int   1: the slots that are left are kept for a run that needs more of them
-- ERRORS incarnation_dead stale_claim

local MAX_CLAIM, MAX_BYTES, HOLD_MS = 64, 1048576, 30000 -- runs of a claim; what they carry, where that is much: at least one comes; a hold's time
local runner = redis.call('HMGET', k.runner(inc), 'state', 'answered', 'name', 'executors', 'serves', 'servesAt')
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
  if runner[6] == version then
    for _, req in ipairs(split(runner[5])) do
      list[#list + 1] = req
    end
    return list, texts
  end
  texts['-'] = ''
  local has = redis.call('HMGET', k.runner(inc), 'tags', 'enforces', 'slots')
  for req, text in pairs(texts) do
    if req ~= '#' and req_met(text, runner[4] or '', has[1] or '', has[2] or '', tonumber(has[3]) or 1) then
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

-- Whose turn it is: the one with the lowest virtual time.
local function foremost(list)
  local first
  for _, one in ipairs(list) do
    if not one.gone and (not first or one.at < first.at or (one.at == first.at and one.name < first.name)) then
      first = one
    end
  end
  return first
end

-- A line is what waits in a queue for one requirement. As much of it as this claim may want is read at once, and what was taken is written at once (line_close): its workspaces by their virtual time, each with its
-- priorities by theirs, and of their lanes the heads.
local function line_open(line, want)
  local most = math.max(want, 2)
  local list = redis.call('ZRANGE', k.lanes(line.queue, line.req), 0, most - 1, 'WITHSCORES')
  line.places, line.whole, line.beyond = {}, #list < 2 * most, tonumber(list[#list])
  for i = 1, #list, 2 do
    local again = string.match(list[i], '^!(.*)$')
    line.places[#line.places + 1] = {name = list[i], at = tonumber(list[i + 1]), ws = again or list[i], again = again, lanes = again and {{name = 'again', at = 0}}}
  end
end

-- The next entry of a lane; nil when there is none.
local function lane_next(line, place, lane, want)
  if not lane.heads or lane.next > #lane.heads then
    if lane.ended then
      return nil
    end
    local most = math.ceil(want / #line.places)
    lane.heads, lane.next = redis.call('XRANGE', k.lane(line.queue, line.req, place.ws, lane.name), lane.last and '(' .. lane.last or '-', '+', 'COUNT', most), 1
    lane.ended = #lane.heads < most
    if not lane.heads[1] then
      return nil
    end
  end
  local entry = lane.heads[lane.next]
  lane.next, lane.last = lane.next + 1, entry[1]
  return entry[2][2]
end

-- Writes what was taken of a line, and forgets what was read. A workspace or a priority that is alone has nobody to take turns with: its virtual time stands still.
local function line_close(line)
  local queue, req, places = line.queue, line.req, line.places or {}
  local alone, moved = line.whole and #places == 1, {}
  if line.vt and not alone then
    redis.call('SET', k.vt(queue, req), line.vt)
  end
  for _, place in ipairs(places) do
    local turns = {}
    for _, lane in ipairs(place.lanes or {}) do
      if lane.last then
        local key = k.lane(queue, req, place.ws, lane.name)
        local ms, n = string.match(lane.last, '^(%d+)%-(%d+)$')
        redis.call('XTRIM', key, 'MINID', ms .. '-' .. fmt(n + 1)) -- what is taken are its first entries
        if redis.call('XLEN', key) == 0 then
          lane_gone(queue, req, place.ws, lane.name)
        elseif #place.lanes > 1 then
          turns[#turns + 1] = lane.at
          turns[#turns + 1] = lane.name
        end
      end
    end
    if #turns > 0 then
      redis.call('ZADD', k.prios(queue, req, place.ws), 'XX', unpack(turns))
    end
    if place.moved and not alone then
      moved[#moved + 1] = place.at
      moved[#moved + 1] = place.name
    end
  end
  if #moved > 0 then
    redis.call('ZADD', k.lanes(queue, req), 'XX', unpack(moved))
  end
  line.places, line.vt = nil, nil
end

-- Takes the next run of a line, of which `want` may follow. Returns its id and its workspace; false when what was there was stale (call again); nil when nothing waits.
local function pop(line, want)
  local place = line.places and foremost(line.places)
  if not line.places or (not line.whole and (not place or place.at > line.beyond)) then
    line_close(line)
    line_open(line, want)
    place = foremost(line.places)
  end
  if not place then
    return nil
  end
  if not place.lanes then
    local list = redis.call('ZRANGE', k.prios(line.queue, line.req, place.ws), 0, -1, 'WITHSCORES')
    place.lanes = {}
    for i = 1, #list, 2 do
      place.lanes[#place.lanes + 1] = {name = list[i], at = tonumber(list[i + 1])}
    end
  end
  local lane = foremost(place.lanes)
  local id = lane and lane_next(line, place, lane, want)
  if not id then
    if not lane or not lane.last then
      redis.call('ZREM', k.lanes(line.queue, line.req), place.name)
    end
    if lane and lane.last then
      lane.gone = true
    end
    place.gone = not lane or not lane.last or not foremost(place.lanes)
    return false
  end
  if not place.again then
    line.vt = place.at
    lane.at = lane.at + STRIDE[lane.name]
    if not line.whole or #line.places > 1 then
      place.at = place.at + stride_of(place.ws)
    end
    place.moved = true
  end
  return id, place.ws
end

local POLICY = {'json', 'timeoutMs', 'stallMs', 'graceMs', 'source', 'executor', 'retainMs', 'retainEventsMs', 'retainResultMs', 'retainCount'}
local defs = {} -- what the definitions of this claim's runs say
local function policy_of(digest)
  local policy = defs[digest]
  if not policy then
    policy = redis.call('HMGET', k.def(digest), unpack(POLICY))
    for i = 7, 10 do
      policy.extra = policy.extra or (policy[i] or '') ~= ''
    end
    defs[digest] = policy
  end
  return policy
end

local followed = {}
-- Whether webhooks of a workspace want some of its runs' events: then those that start are looked through (started).
local function follows(ws)
  if followed[ws] == nil then
    followed[ws] = redis.call('HEXISTS', k.hooks(ws), '*') == 1
  end
  return followed[ws]
end

local claim_text, rid_text = fmt(claim_no), rid_short(rid)
local rid_there = ' ' .. rid_text
local claimed_by = ' ' .. now_text() .. ' ' .. claim_text .. ' ' .. (runner[3] or '')
local runs, NOTHING = {}, {} -- the rows of the answer, their cells one behind the other
local held, waited = {}, {} -- epoch and run of each run taken; how many of each workspace

-- A new attempt with its epoch: `queued` to `provisioning`. What counts runs is told at the end (claim_close).
local function attempt_begin(id, line, ws)
  local key = k.run(id)
  local v = redis.call('HMGET', key, 'status', 'agent', 'def', 'made', 'input', 'more')
  if v[1] ~= 'queued' then
    return nil
  end
  local rare = v[6] and redis.call('HMGET', key, 'attempt', 'epoch', 'env', 'traceparent', 'timeoutMs', 'stallMs', 'gates', 'deps', 'hookUrl', 'started') or NOTHING
  local n, epoch, epoch_text, first, first_text, before = '1', now_ms, now_text(), 1, '1', NO_TAIL
  if v[6] or string.sub(v[4], -#rid_there) ~= rid_there then
    local run = run_get(id, {'ws', 'attempt', 'gates', 'made', 'rid'})
    if rare[2] then -- else nothing was said of it yet: it has no stream, and gets one when it is started
      before = tail(id)
      redis.call('HDEL', key, 'waitingFor', 'asked')
      epoch = math.max(rare[2] + 1, now_ms)
      epoch_text = fmt(epoch)
    end
    n = fmt(run.attempt + 1)
    if n ~= '1' or run.rid ~= rid_text then
      first = seq_after(run, before.last, rid)
      redis.call('HSET', key, 'rid', rid_text, 'extra', '1')
    else
      first = before.last + 1
    end
    first_text = fmt(first)
    local old = n - KEPT_ATTEMPTS
    if old > 0 then
      redis.call('HDEL', key, 'a' .. old, af(old, 'started'), af(old, 'tok'), af(old, 'handle'), af(old, 'stats'), af(old, 'secrets'), af(old, 'end'), af(old, 'error'))
    end
    gates_started(run)
  end
  if not rare[10] and follows(ws) then
    redis.call('HSET', key, 'follow', '0-0')
  end
  local policy = policy_of(v[3])
  if policy.extra or rare[7] or rare[9] then
    redis.call('HSET', key, 'extra', '1')
  end
  redis.call('HSET', key, 'status', 'provisioning', 'attempt', n, 'epoch', epoch_text, 'inc', inc, 'a' .. n, epoch_text .. ' ' .. first_text .. claimed_by)
  held[#held + 1] = epoch_text
  held[#held + 1] = id
  line.begun = (line.begun or 0) + 1
  waited[ws] = (waited[ws] or 0) + 1
  local input, env = v[5] or redis.call('GET', k.input(id)) or '', ''
  if v[6] then
    env = rare[3] or redis.call('GET', k.env(id)) or ''
  end
  local json, dependencies = policy[1] or '', rare[8] and dependencies_of(rare[8]) or ''
  local at = #runs
  runs[at + 1], runs[at + 2], runs[at + 3], runs[at + 4], runs[at + 5], runs[at + 6] = id, ws, v[2] or '', n, epoch_text, first_text
  runs[at + 7], runs[at + 8], runs[at + 9] = before.t, before.c, before.z
  runs[at + 10], runs[at + 11], runs[at + 12], runs[at + 13] = rare[5] or policy[2] or '', rare[6] or policy[3] or 0, policy[4] or '', line.slots
  runs[at + 14], runs[at + 15], runs[at + 16] = policy[5] or DEFAULTS.source, policy[6] or DEFAULTS.executor, json
  runs[at + 17], runs[at + 18], runs[at + 19], runs[at + 20] = input, env, rare[4] or '', dependencies
  return #json + #input + #env + #dependencies
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

redis.call('HSET', k.runner(inc), 'claimNo', claim_text)
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

-- What is one write for all runs that were taken.
local function claim_close()
  for _, line in ipairs(lines) do
    line_close(line)
    if line.begun then
      add_count(k.queued, line.queue, -line.begun)
      add_count(k.active, line.queue, line.begun)
      if line.req ~= '-' then
        req_unref(line.req, line.begun)
      end
      line.begun = nil
    end
  end
  for ws, n in pairs(waited) do
    add_count(k.use(ws), 'waiting', -n)
  end
  if #held > 0 then
    redis.call('ZADD', k.held(inc), unpack(held))
  end
end

-- One runner at a time takes nothing else until a large run fits; else small ones would never leave it room. The bell that woke it may have rung for one of those: another runner is to hear it.
local function keep_slots()
  claim_close()
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
      return keep_slots()
    end
    turn = i - 1
  end
end
local taken, free, idle, bytes = 0, max, 0, 0
while free > 0 and taken < MAX_CLAIM and bytes < MAX_BYTES and idle < #lines do
  local line = lines[turn % #lines + 1]
  turn = turn + 1
  idle = idle + 1
  local fits = line.slots <= free
  if not fits then
    line_close(line) -- so that what is looked at now is what is left
  end
  if not fits and redis.call('EXISTS', k.lanes(line.queue, line.req)) == 1 and redis.call('SET', k.hold(line.queue, line.req), inc, 'NX', 'PX', HOLD_MS) then
    return keep_slots()
  end
  local id, ws, carried = nil, nil, nil
  if fits then
    id, ws = pop(line, math.ceil(math.min(MAX_CLAIM - taken, math.floor(free / line.slots)) / #lines))
    line.empty = id == nil
  end
  if id then
    carried = attempt_begin(id, line, ws)
  end
  if carried then
    taken = taken + 1
    free = free - line.slots
    bytes = bytes + carried
    if line.slots > 1 then
      redis.call('DEL', k.hold(line.queue, line.req))
    end
  end
  if id or (fits and id == false) then
    idle = 0
  end
end
claim_close()
local more, rung = 0, {}
for _, line in ipairs(lines) do
  if not line.empty and not rung[line.queue] and (free == 0 or line.slots <= free) and redis.call('EXISTS', k.lanes(line.queue, line.req)) == 1 then
    more = 1
    rung[line.queue] = true
    bell_ring(line.queue)
  end
end
return {'ok', runs, more, now_ms, 0}
