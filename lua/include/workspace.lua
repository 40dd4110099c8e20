-- A workspace's bound on what is executed at a time: the number of its gate `w`.
local NO_BOUND, LET_IN = 1000000, 100

-- Puts the bound into force (0: none), and lets in those for whom there is room now. Runs took the number along that held when they were submitted, and only what stands in limits beats it: so where such runs may
-- still be there, a bound that is gone is one that nobody reaches.
local function ws_bound(ws, concurrency)
  local key = k.limits(ws)
  local before = redis.call('HGET', key, 'w')
  if concurrency == 0 and not before then
    return
  end
  local known = redis.call('EXISTS', k.gate(ws, 'w'), k.wait(ws, 'w')) > 0 or redis.call('HEXISTS', k.use(ws), 'waiting') == 1
  if concurrency > 0 then
    redis.call('HSET', key, 'w', fmt(concurrency))
  elseif known then
    redis.call('HSET', key, 'w', NO_BOUND)
  else
    redis.call('HDEL', key, 'w', 'w@')
  end
  local now = redis.call('HGET', key, 'w')
  if now and now ~= before then
    redis.call('HSET', key, 'w@', fmt(now_ms)) -- since when: who was let in before is not judged by it
  end
  if gate_pump(ws, 'w', LET_IN) then
    throttle(ws, 'w', now_ms) -- promote goes on
  end
end
