-- Gates: what a run must hold before it may enter its lane. A concurrency gate (w, a:AGENT, k:KEY, c:API_KEY, s:SCHEDULE) has a number of places, held until the run ends or waits for a retry. A rate gate (ra:AGENT,
-- rk:KEY) lets one through each interval; a run holds it until it is claimed, so that a pause of the runners saves up no burst. A run takes its gates in the order in which it names them; where one has no place it
-- is parked there, holding those before. The order is the same for all runs (k c s a w rk ra), so no two wait for each other. Who leaves a gate lets the next one in: nobody polls.
local ADMIT_FIELDS = {'ws', 'queue', 'req', 'reqText', 'priority', 'gates', 'gated', 'made'}
local AHEAD_US = {high = -60000000, normal = 0, low = 60000000} -- a place in the line: low always moves
local RATE_SLACK_US = 50000 -- how late promote may come without losing rate
local PUMP = 8 -- most runs let in when one leaves

-- `k:user=1` or `rk:user=100/1000/10` → name, limit, per ms, burst.
local function gate_parse(word)
  local name, limit, per, burst = string.match(word, '^(.-)=(%d+)/(%d+)/(%d+)$')
  if not name then
    name, limit = string.match(word, '^(.-)=(%d+)$')
  end
  return {name = name, limit = tonumber(limit), per = tonumber(per), burst = tonumber(burst)}
end

-- The gate as it is in force now: what the agent or the workspace says today beats what the run took along.
local function gate_now(ws, word)
  local g = gate_parse(word)
  local kind = string.match(g.name, '^%a+')
  if kind == 'a' or kind == 'w' or kind == 'ra' then
    local now = redis.call('HGET', k.limits(ws), g.name)
    if now then
      g = gate_parse(g.name .. '=' .. now)
    end
  end
  return g
end

-- Takes a place at a gate if it has one. Otherwise false, and when a rate gate has one next (ms; nil where somebody has to leave first).
local function gate_take(run, g)
  local key = k.gate(run.ws, g.name)
  local holders = redis.call('ZCARD', key)
  if not g.per then
    if holders >= g.limit then
      return false
    end
  else
    local interval = g.per * 1000 / g.limit
    local tolerance = math.max((g.burst - 1) * interval, RATE_SLACK_US)
    if holders >= 1 + math.floor(tolerance / interval) then
      return false
    end
    local tat = math.max(tonumber(redis.call('GET', k.rate(run.ws, g.name)) or '0'), now_us)
    if tat > now_us + tolerance + interval + 1 then
      tat = now_us + tolerance -- further ahead than this rate can bring it: it was slower, or the clock was ahead. That is not waited for
    end
    if tat - tolerance > now_us then
      return false, math.ceil((tat - tolerance) / 1000)
    end
    tat = tat + interval
    redis.call('SET', k.rate(run.ws, g.name), fmt(tat), 'PX', fmt(math.ceil((tat - now_us) / 1000) + 2000))
  end
  redis.call('ZADD', key, fmt(now_ms), run.id)
  return true
end

-- A rate gate with a line is looked at by promote at that time.
local function throttle(ws, name, at)
  local first = redis.call('ZRANGE', k.throttled, 0, 0, 'WITHSCORES')
  redis.call('ZADD', k.throttled, fmt(at), ws .. ':' .. name)
  if not due_told and (not first[2] or tonumber(first[2]) > at) then
    redis.call('PUBLISH', k.due, fmt(at))
  end
end

local gate_pump

-- Parks a run at the gate that its field gated is followed by. One that comes first in a line that was there may find room where the one before it did not: each has its own idea of the limit.
local function gate_park(run, g, next_ms)
  redis.call('ZADD', k.wait(run.ws, g.name), fmt(tonumber(run.createdUs) + (AHEAD_US[run.priority] or 0)), run.id)
  redis.call('HSET', k.run(run.id), 'gated', run.gated, 'waitGate', g.name)
  if next_ms then
    throttle(run.ws, g.name, next_ms)
  elseif not g.per and redis.call('ZRANGE', k.wait(run.ws, g.name), 0, 0)[1] == run.id then
    gate_pump(run.ws, g.name, 1)
  end
end

-- Lets a queued run (ADMIT_FIELDS; gated: how many gates it holds) on to its lane, as far as its gates let it.
local function run_admit(run)
  work = work + 0.5
  if run.gates ~= '' then
    local words = split(run.gates)
    for i = (tonumber(run.gated) or 0) + 1, #words do
      local g = gate_now(run.ws, words[i])
      run.gated = i - 1
      if redis.call('EXISTS', k.wait(run.ws, g.name)) == 1 then
        gate_park(run, g)
        return
      end
      local taken, next_ms = gate_take(run, g)
      if not taken then
        gate_park(run, g, next_ms)
        return
      end
    end
    run.gated = #words
    redis.call('HSET', k.run(run.id), 'gated', #words)
  end
  lane_add(run, run.priority)
end

-- Lets in who waits at a gate, at most max. False when the line is empty, or there is no room; else there may be more to let in.
gate_pump = function(ws, name, max)
  for _ = 1, max do
    local id = redis.call('ZRANGE', k.wait(ws, name), 0, 0)[1]
    if not id then
      return false
    end
    local run = run_get(id, ADMIT_FIELDS)
    local place = run and (tonumber(run.gated) or 0) + 1
    local word = run and run.status == 'queued' and split(run.gates)[place]
    if not word then
      redis.call('ZREM', k.wait(ws, name), id) -- a record that somebody removed holds nobody up
    else
      local taken, next_ms = gate_take(run, gate_now(ws, word))
      if not taken then
        if next_ms then
          throttle(ws, name, next_ms)
        end
        return false
      end
      redis.call('ZREM', k.wait(ws, name), id)
      redis.call('HDEL', k.run(id), 'waitGate')
      run.gated = place
      run_admit(run)
    end
  end
  return true
end

-- Lets in whom a gate has room for, at most PUMP at once; promote goes on with the rest.
local function gate_leave_room(ws, name)
  if gate_pump(ws, name, PUMP) then
    throttle(ws, name, now_ms)
  end
end

-- Gives back the gates that a run holds, and lets the next ones in. A run parked at a gate leaves its line, too.
local function gates_leave(run)
  if run.gates == '' then
    return
  end
  if run.waitGate ~= '' then
    redis.call('ZREM', k.wait(run.ws, run.waitGate), run.id)
    gate_leave_room(run.ws, run.waitGate) -- who stood behind it may have a higher limit
  end
  local words = split(run.gates)
  redis.call('HDEL', k.run(run.id), 'gated', 'waitGate')
  for i = 1, tonumber(run.gated) or 0 do
    local g = gate_parse(words[i])
    if redis.call('ZREM', k.gate(run.ws, g.name), run.id) == 1 then
      if g.per then
        throttle(run.ws, g.name, now_ms)
      else
        gate_leave_room(run.ws, g.name)
      end
    end
  end
  run.gated, run.waitGate = '', ''
end

-- A run was claimed: the places at rate gates that it held are free for the next.
local function gates_started(run)
  for _, word in ipairs(split(run.gates)) do
    local g = gate_parse(word)
    if g.per and redis.call('ZREM', k.gate(run.ws, g.name), run.id) == 1 and redis.call('EXISTS', k.wait(run.ws, g.name)) == 1 then
      throttle(run.ws, g.name, now_ms)
    end
  end
end
