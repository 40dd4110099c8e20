-- Webhooks and their outbox. `hooks` of a workspace says what each wants (`run.error event.notification|agent agent`, '' for one that is off; `*`: all the kinds of events that any of them wants): who has none pays one look at a
-- key that is not there. A delivery is written in the script that ends a run, so it is as durable as the end itself; what it says is put together when it is sent. Its name is the run and the event's seq, so the same is never told twice.
-- `hookq`: when to look at a webhook next; `hookdue`: its deliveries by when they are to be tried (leased ones: when the lease ends; those that are over: when they are removed); `hooklease`: those under way; `hooklist`: all, by creation.
local HOOK_RUNS = 'runs' -- the webhook that stands for those that runs bring along themselves
local HOOK_EACH = 4 -- deliveries of one webhook under way: a slow receiver keeps nobody else waiting
local HOOK_KEPT, HOOK_MOST, HOOK_LOOKED = 1000, 10000, 4
local HOOK_KEPT_MS = 604800000

local function hook_forget(ws, hook, id)
  redis.call('UNLINK', k.delivery(ws, hook, id))
  redis.call('ZREM', k.hooklist(ws, hook), id)
  redis.call('ZREM', k.hookdue(ws, hook), id)
  redis.call('ZREM', k.hooklease(ws, hook), id)
end

-- Of what is over the newest are kept; of what is still to be delivered more, and beyond that the oldest is given up, which the webhook counts.
local function hook_bound(ws, hook)
  local n = redis.call('ZCARD', k.hooklist(ws, hook))
  if n <= HOOK_KEPT then
    return
  end
  for _, id in ipairs(redis.call('ZRANGE', k.hooklist(ws, hook), 0, HOOK_LOOKED - 1)) do
    local waits = redis.call('HGET', k.delivery(ws, hook, id), 'status') == 'pending'
    if n > HOOK_KEPT and (not waits or n > HOOK_MOST) then
      hook_forget(ws, hook, id)
      n = n - 1
      if waits and redis.call('EXISTS', k.hook(ws, hook)) == 1 then
        redis.call('HINCRBY', k.hook(ws, hook), 'dropped', 1)
      end
    end
  end
end

-- Sets when the webhook is to be looked at: when its first delivery is due, or while as many are under way as may be, when the first of these leases ends (who is done sets it anew).
local function hook_look(ws, hook)
  local member = ws .. ':' .. hook
  local first = redis.call('ZRANGE', k.hookdue(ws, hook), 0, 0, 'WITHSCORES')
  if not first[1] then
    redis.call('ZREM', k.hookq, member)
    return
  end
  local at = tonumber(first[2])
  if redis.call('ZCARD', k.hooklease(ws, hook)) >= HOOK_EACH then
    at = math.max(at, tonumber(redis.call('ZRANGE', k.hooklease(ws, hook), 0, 0, 'WITHSCORES')[2]))
  end
  redis.call('ZADD', k.hookq, fmt(at), member)
end

-- Writes a delivery that is due now, unless it is there. order: of those of one script. more: further fields and values.
local function hook_deliver(ws, hook, id, kind, order, more)
  local key = k.delivery(ws, hook, id)
  if redis.call('HSETNX', key, 'status', 'pending') == 0 then
    return false
  end
  redis.call('HSET', key, 'type', kind, 'created', fmt(now_ms), 'since', fmt(now_ms), 'next', fmt(now_ms), unpack(more))
  redis.call('ZADD', k.hooklist(ws, hook), fmt(now_us + order), id)
  redis.call('ZADD', k.hookdue(ws, hook), fmt(now_ms), id)
  redis.call('ZADD', k.hookq, 'LT', fmt(now_ms), ws .. ':' .. hook)
  hook_bound(ws, hook)
  return true
end

local function hook_wants(filter, kind, agent)
  local kinds, agents = string.match(filter, '^(.*)|(.*)$')
  return kinds and string.find(' ' .. kinds .. ' ', ' ' .. kind .. ' ', 1, true) and (agents == '' or string.find(' ' .. agents .. ' ', ' ' .. agent .. ' ', 1, true))
end

-- A run ended: tells the webhooks of its workspace that want it, and the one that it brought along. run: ws, agent, hook, hookUrl, hookSecret; hooks: what `hooks` says.
local function hook_run_end(run, status, seq, hooks)
  local told, id = 0, run.id .. '-' .. fmt(seq)
  local kind, more = 'run.' .. status, {'run', run.id, 'agent', run.agent}
  for i = 1, #hooks, 2 do
    if hooks[i + 1] ~= '' and hooks[i] ~= '*' and (hooks[i] == run.hook or hook_wants(hooks[i + 1], kind, run.agent)) and hook_deliver(run.ws, hooks[i], id, kind, 0, more) then
      told = told + 1
    end
  end
  if run.hookUrl ~= '' and hook_deliver(run.ws, HOOK_RUNS, id, kind, 0, {'run', run.id, 'agent', run.agent, 'url', run.hookUrl, 'secret', run.hookSecret}) then
    told = told + 1
  end
  if told > 0 then
    redis.call('PUBLISH', k.hookw, '')
  end
  return told
end

-- Puts what a webhook wants into force, and the union of the kinds of events. filter: '' for one that is off, nil for one that is gone.
local function hook_filter(ws, hook, filter)
  local key = k.hooks(ws)
  if filter then
    redis.call('HSET', key, hook, filter)
  else
    redis.call('HDEL', key, hook)
  end
  local all, seen, kinds = redis.call('HGETALL', key), {}, {}
  for i = 1, #all, 2 do
    for kind in string.gmatch(all[i] ~= '*' and string.match(all[i + 1], '^(.*)|') or '', 'event%.(%S+)') do
      if not seen[kind] then
        seen[kind] = true
        kinds[#kinds + 1] = kind
      end
    end
  end
  if #kinds > 0 then
    redis.call('HSET', key, '*', table.concat(kinds, ' '))
  else
    redis.call('HDEL', key, '*')
  end
  if redis.call('EXISTS', key) == 1 then
    redis.call('HSET', k.use(ws), 'hooks', '1') -- where the end of a run looks anyway
  else
    redis.call('HDEL', k.use(ws), 'hooks')
  end
end

-- A delivery is over: it stays to be read for a while.
local function hook_settle(ws, hook, id, status)
  redis.call('HSET', k.delivery(ws, hook, id), 'status', status)
  redis.call('HDEL', k.delivery(ws, hook, id), 'next', 'lease')
  redis.call('ZADD', k.hookdue(ws, hook), fmt(now_ms + HOOK_KEPT_MS), id)
end

-- What is shown of a webhook: all of it but its secrets.
local function hook_shown(ws, id)
  local all, shown = redis.call('HGETALL', k.hook(ws, id)), {}
  for i = 1, #all, 2 do
    if all[i] ~= 'secret' and all[i] ~= 'secretOld' then
      shown[#shown + 1] = all[i]
      shown[#shown + 1] = all[i + 1]
    end
  end
  return shown
end
