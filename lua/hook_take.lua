#!lua flags=allow-oom
-- hook_take: leases deliveries that are due, and gives what is to be said; removes those that were over for long enough. A node that dies leaves its lease to end, and another takes them.
-- INCLUDE keys time later run stream summary hook
-- ARGV
--   max         int   most deliveries
--   lease_ms    int   longer than one attempt may take
--   max_result  int   bytes; a longer result is left out
-- REPLY
--   deliveries  table(ws str, hook str, id str, lease str, type str, run str, agent str, created int, since int, tries int, now_ms int, url str, secret str, secret_old str, event str, seq int, record flat, last int, count int, bytes int)
--   next_ms     int   milliseconds until there is something to do, 0: at once, -1: nothing waits
-- ERRORS

local HOOKS, SETTLED, MAX_BYTES = 16, 8, 1048576
local rows, bytes = {}, 0

local function event_at(run, epoch, seq)
  local entry = redis.call('XRANGE', k.events(run), seq > 0 and '(' .. epoch .. '-' .. fmt(seq - 1) or epoch .. '-0', '+', 'COUNT', 1)[1]
  return entry and entry[2][4] or ''
end

local function lease(ws, hook, id, d, settings)
  local token, until_ms = fmt(now_us) .. '-' .. #rows, fmt(now_ms + lease_ms)
  redis.call('HSET', k.delivery(ws, hook, id), 'lease', token)
  redis.call('ZADD', k.hookdue(ws, hook), until_ms, id)
  redis.call('ZADD', k.hooklease(ws, hook), until_ms, id)
  local record, count, event = {}, {last = 0, c = 0, z = 0}, ''
  local r = d.run ~= '' and run_get(d.run, FETCHED)
  if r then
    record, count = run_summary(r)
    local size = d.seq and 0 or redis.call('HSTRLEN', k.run(d.run), 'result')
    if size > max_result then
      record[#record + 1] = 'resultOmitted'
      record[#record + 1] = '1'
    elseif size > 0 then
      record[#record + 1] = 'result'
      record[#record + 1] = redis.call('HGET', k.run(d.run), 'result')
    end
    event = d.seq and event_at(d.run, d.epoch, tonumber(d.seq)) or ''
    bytes = bytes + size + #event
  end
  local old = settings[4] and tonumber(settings[4]) > now_ms and settings[3] or ''
  rows[#rows + 1] = {ws, hook, id, token, d.type, d.run, d.agent or '', d.created, d.since, d.tries or 0, now_ms, d.url or settings[1], d.secret or settings[2], old, event, d.seq or -1, record, count.last, count.c, count.z}
end

local function look_at(ws, hook)
  redis.call('ZREMRANGEBYSCORE', k.hooklease(ws, hook), '-inf', now_ms)
  local settings = redis.call('HMGET', k.hook(ws, hook), 'url', 'secret', 'secretOld', 'oldUntil', 'enabled')
  local free = HOOK_EACH - redis.call('ZCARD', k.hooklease(ws, hook))
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', k.hookdue(ws, hook), '-inf', now_ms, 'LIMIT', 0, free + SETTLED)) do
    local d, flat = {}, redis.call('HGETALL', k.delivery(ws, hook, id))
    for i = 1, #flat, 2 do
      d[flat[i]] = flat[i + 1]
    end
    if d.status ~= 'pending' then
      hook_forget(ws, hook, id)
    elseif hook ~= HOOK_RUNS and settings[5] ~= '1' then
      redis.call('HSET', k.delivery(ws, hook, id), 'lastError', 'The webhook is disabled')
      hook_settle(ws, hook, id, 'failed')
    elseif free > 0 and #rows < max and bytes < MAX_BYTES then
      free = free - 1
      lease(ws, hook, id, d, settings)
    end
  end
  hook_look(ws, hook)
end

for _, member in ipairs(redis.call('ZRANGEBYSCORE', k.hookq, '-inf', now_ms, 'LIMIT', 0, HOOKS)) do
  if #rows >= max then
    break
  end
  look_at(string.match(member, '^([^:]*):(.*)$'))
end
local first = redis.call('ZRANGE', k.hookq, 0, 0, 'WITHSCORES')
return {'ok', rows, first[2] and math.max(0, tonumber(first[2]) - now_ms) or -1}
