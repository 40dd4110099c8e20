#!lua flags=allow-oom
-- watch: tells runs that have waited for 10 s in lanes which no living runner serves (its queue, or what they require): a notification, and waitingFor in the record. Any node, each second; does its work once a second however many call, and where there is much to look at a part of it, the next part a second later.
-- INCLUDE keys time later run lane stream served
-- ARGV
--   max  int   most runs to tell
--   rid  str
-- REPLY
--   told int
-- ERRORS

local PATIENCE_MS, PERIOD_MS, QUEUES, RUNNERS, LANES, LOOKS = 10000, 900, 200, 1000, 64, 1000
local before = redis.call('HMGET', k.reap, 'watch', 'watchAt')
local last = tonumber(before[1] or '0')
if last <= now_ms and now_ms - last < PERIOD_MS then
  return {'ok', 0}
end
redis.call('HSET', k.reap, 'watch', fmt(now_ms))
local queues = redis.call('HLEN', k.queued) <= QUEUES and redis.call('HKEYS', k.queued) or redis.call('HRANDFIELD', k.queued, QUEUES) -- of more queues some each time
if #queues == 0 then
  return {'ok', 0}
end

-- The kinds of living runners, by the queue they serve: many are alike.
local kinds, seen = {}, {}
local looks = 0 -- what was looked at
for _, inc in ipairs(redis.call('ZRANGEBYSCORE', k.leases, '(' .. fmt(now_ms), '+inf', 'LIMIT', 0, RUNNERS)) do
  local r = redis.call('HMGET', k.runner(inc), 'queues', 'executors', 'tags', 'slots', 'state', 'enforces')
  local kind = table.concat({r[1] or '', r[2] or '', r[3] or '', r[4] or '', r[6] or ''}, '\n')
  if r[5] == 'live' and not seen[kind] then
    seen[kind] = true
    local what = {executors = r[2] or '', tags = r[3] or '', enforces = r[6] or '', slots = tonumber(r[4]) or 1}
    for queue in string.gmatch(r[1] or '', '[^,%s]+') do
      kinds[queue] = kinds[queue] or {}
      table.insert(kinds[queue], what)
    end
  end
end

local function served(queue, text)
  for _, kind in ipairs(kinds[queue] or {}) do
    looks = looks + 1
    if req_met(text, kind.executors, kind.tags, kind.enforces, kind.slots) then
      return true
    end
  end
  return false
end

-- The run has no attempt that writes; so this takes an epoch for itself, and the next attempt gets a higher one.
local function tell(id, queue, text)
  local run = run_get(id, {'epoch', 'rid', 'attempt', 'made'})
  if not run or run.status ~= 'queued' then
    return
  end
  local words = {}
  for i, word in ipairs(split(text)) do
    words[i] = '"' .. word .. '"'
  end
  local waiting_for = '{"runner":{"queue":"' .. queue .. '","requires":[' .. table.concat(words, ',') .. ']}}'
  local before = tail(id)
  local epoch, seq = fmt(tonumber(run.epoch) + 1), fmt(seq_after(run, before.last, rid))
  redis.call('HSET', k.run(id), 'epoch', epoch, 'rid', rid_short(rid), 'waitingFor', waiting_for, 'more', '1')
  event_add(id, epoch .. '-' .. seq, seq, fmt(math.max(now_ms, before.t)), 'notification',
    '{"message":"no living runner serves this: it waits for one","waitingFor":' .. waiting_for .. '}', before.c, before.z)
  wake(id)
end

local told = 0
local function tell_lane(queue, req, ws, prio, text)
  looks = looks + 2
  local name = queue .. ':' .. req .. ':' .. ws .. ':' .. prio
  local from = redis.call('HGET', k.told, name)
  local entries = redis.call('XRANGE', k.lane(queue, req, ws, prio), from and '(' .. from or '-', fmt(now_ms - PATIENCE_MS), 'COUNT', max - told)
  for _, entry in ipairs(entries) do
    tell(entry[2][2], queue, text)
    redis.call('HSET', k.told, name, entry[1])
    told = told + 1
  end
end

local function tell_queue(queue, req, text)
  looks = looks + 1
  local members = redis.call('ZRANGE', k.lanes(queue, req), 0, LANES - 1)
  if #members == 0 or served(queue, text) then
    return
  end
  for _, member in ipairs(members) do
    looks = looks + 1
    local taken_back = string.match(member, '^!(.*)$')
    local prios = taken_back and {'again'} or redis.call('ZRANGE', k.prios(queue, req, member), 0, -1)
    for _, prio in ipairs(prios) do
      if told < max then
        tell_lane(queue, req, taken_back or member, prio, text)
      end
    end
  end
end

local texts = {'-', ''}
local reqs = redis.call('HGETALL', k.reqs)
for i = 1, #reqs, 2 do
  if reqs[i] ~= '#' then
    texts[#texts + 1] = reqs[i]
    texts[#texts + 1] = reqs[i + 1]
  end
end
-- Each queue with each requirement, from where the last call ended; once around at most.
local per = #texts / 2
local all, at = #queues * per, tonumber(before[2] or '0')
for _ = 1, all do
  if looks >= LOOKS or told >= max then
    break
  end
  at = at % all
  local i = at % per * 2
  tell_queue(queues[math.floor(at / per) + 1], texts[i + 1], texts[i + 2])
  at = at + 1
end
redis.call('HSET', k.reap, 'watchAt', fmt(at))
return {'ok', told}
