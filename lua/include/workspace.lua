-- A workspace's settings, and its bound on what is executed at a time: the number of its gate `w`.
local NO_BOUND, LET_IN = 1000000, 100
local MIRRORED = {'queueMax', 'bytesMax', 'retentionMs', 'eventsRetentionMs', 'resultRetentionMs', 'retentionCount'} -- from the third on in one field: `retention`

-- Whether a submission has more to look at than the counters: one field tells, so that it asks for few.
local function ws_bounded(ws)
  local key = k.use(ws)
  if redis.call('HEXISTS', key, 'w') + redis.call('HEXISTS', key, 'queueMax') + redis.call('HEXISTS', key, 'bytesMax') > 0 then
    redis.call('HSET', key, 'bounded', '1')
  else
    redis.call('HDEL', key, 'bounded')
  end
end

-- What each run's submission and end ask for stands beside the counters as well, so that one call reads all of it.
local function ws_mirror(ws)
  redis.call('HDEL', k.use(ws), 'queueMax', 'bytesMax', 'retention')
  local values, mirror = redis.call('HMGET', k.ws(ws), unpack(MIRRORED)), {}
  for i = 1, 2 do
    if values[i] then
      mirror[#mirror + 1] = MIRRORED[i]
      mirror[#mirror + 1] = values[i]
    end
  end
  if values[3] or values[4] or values[5] or values[6] then
    mirror[#mirror + 1] = 'retention'
    mirror[#mirror + 1] = table.concat({values[3] or '-', values[4] or '-', values[5] or '-', values[6] or '-'}, ' ')
  end
  if #mirror > 0 then
    redis.call('HSET', k.use(ws), unpack(mirror))
  end
  ws_bounded(ws)
end

-- Puts the bound into force (0: none), and lets in those for whom there is room now. Runs took the number along that held when they were submitted, and only what stands in limits beats it: so where such runs may
-- still be there, a bound that is gone is one that nobody reaches.
local function ws_bound(ws, concurrency)
  local key = k.limits(ws)
  local before = redis.call('HGET', key, 'w')
  if concurrency == 0 and not before then
    return
  end
  local known = redis.call('EXISTS', k.gate(ws, 'w'), k.wait(ws, 'w')) > 0 or redis.call('HEXISTS', k.use(ws), 'waiting') == 1
  local now = concurrency > 0 and fmt(concurrency) or known and fmt(NO_BOUND) or false
  if now then
    redis.call('HSET', key, 'w', now)
    redis.call('HSET', k.use(ws), 'w', now)
  else
    redis.call('HDEL', key, 'w', 'w@')
    redis.call('HDEL', k.use(ws), 'w')
  end
  ws_bounded(ws)
  if now and now ~= before then
    redis.call('HSET', key, 'w@', fmt(now_ms)) -- since when: who was let in before is not judged by it
  end
  if gate_pump(ws, 'w', LET_IN) then
    throttle(ws, 'w', now_ms) -- promote goes on
  end
end
