#!lua flags=allow-oom
-- watch: tells runs that have waited for 10 s in lanes which no living runner serves (its queue, or what they require): a notification, and waitingFor in the record. Any node, each second; does its work once a second however many call.
-- INCLUDE keys time run lane stream served
-- ARGV
--   max  int   most runs to tell
--   rid  str
-- REPLY
--   told int
-- ERRORS

local PATIENCE_MS, PERIOD_MS, QUEUES, RUNNERS, LANES = 10000, 900, 200, 1000, 64
local last = tonumber(redis.call('HGET', k.reap, 'watch') or '0')
if last <= now_ms and now_ms - last < PERIOD_MS then
  return {'ok', 0}
end
redis.call('HSET', k.reap, 'watch', fmt(now_ms))
local queues = redis.call('HKEYS', k.queued)
if #queues == 0 then
  return {'ok', 0}
end

-- The kinds of living runners: many are alike.
local kinds, seen = {}, {}
for _, inc in ipairs(redis.call('ZRANGEBYSCORE', k.leases, '(' .. fmt(now_ms), '+inf', 'LIMIT', 0, RUNNERS)) do
  local r = redis.call('HMGET', k.runner(inc), 'queues', 'executors', 'tags', 'slots', 'state')
  local kind = table.concat({r[1] or '', r[2] or '', r[3] or '', r[4] or ''}, '\n')
  if r[5] == 'live' and not seen[kind] then
    seen[kind] = true
    kinds[#kinds + 1] = {queues = ',' .. string.gsub(r[1] or '', '%s', '') .. ',', executors = r[2] or '', tags = r[3] or '', slots = tonumber(r[4]) or 1}
  end
end

local function served(queue, text)
  for _, kind in ipairs(kinds) do
    if string.find(kind.queues, ',' .. queue .. ',', 1, true) and req_met(text, kind.executors, kind.tags, kind.slots) then
      return true
    end
  end
  return false
end

-- The run has no attempt that writes; so this takes an epoch for itself, and the next attempt gets a higher one.
local function tell(id, queue, text)
  local run = run_get(id, {'epoch', 'rid', 'attempt'})
  if not run or run.status ~= 'queued' then
    return
  end
  local words = {}
  for i, word in ipairs(split(text)) do
    words[i] = '"' .. word .. '"'
  end
  local waiting_for = '{"runner":{"queue":"' .. queue .. '","requires":[' .. table.concat(words, ',') .. ']}}'
  local before = tail(id)
  local epoch, seq = fmt(tonumber(run.epoch) + 1), seq_after(run, before.last, rid)
  redis.call('HSET', k.run(id), 'epoch', epoch, 'rid', rid_short(rid), 'waitingFor', waiting_for)
  event_add(id, epoch .. '-' .. fmt(seq), seq, math.max(now_ms, before.t), 'notification',
    '{"message":"no living runner serves this: it waits for one","waitingFor":' .. waiting_for .. '}', before)
  wake(id)
end

local told = 0
local function tell_lane(queue, req, ws, prio, text)
  local name = queue .. ':' .. req .. ':' .. ws .. ':' .. prio
  local from = redis.call('HGET', k.told, name)
  local entries = redis.call('XRANGE', k.lane(queue, req, ws, prio), from and '(' .. from or '-', fmt(now_ms - PATIENCE_MS), 'COUNT', max - told)
  for _, entry in ipairs(entries) do
    tell(entry[2][2], queue, text)
    redis.call('HSET', k.told, name, entry[1])
    told = told + 1
  end
end

local texts = {'-', ''}
for _, word in ipairs(redis.call('HGETALL', k.reqs)) do
  texts[#texts + 1] = word
end
for q = 1, math.min(#queues, QUEUES) do
  for i = 1, #texts, 2 do
    local queue, req, text = queues[q], texts[i], texts[i + 1]
    local members = req ~= '#' and redis.call('ZRANGE', k.lanes(queue, req), 0, LANES - 1) or {}
    if #members > 0 and not served(queue, text) then
      for _, member in ipairs(members) do
        local taken_back = string.match(member, '^!(.*)$')
        local prios = taken_back and {'again'} or redis.call('ZRANGE', k.prios(queue, req, member), 0, -1)
        for _, prio in ipairs(prios) do
          if told < max then
            tell_lane(queue, req, taken_back or member, prio, text)
          end
        end
      end
    end
  end
end
return {'ok', told}
