-- Stopping one run, and walking the trees of those that were stopped.

-- Stores the intent for one run; what waits ends here, what executes is told to its runner. Nothing for one that ended.
local function stop_one(run, rid, retention_ms)
  if TERMINAL[run.status] then
    if run.stopAt == '' then
      redis.call('HSET', k.run(run.id), 'treeStop', '1') -- its tree grows no more either
    end
    return
  end
  if run.stopAt == '' then
    redis.call('HSET', k.run(run.id), 'stopAt', fmt(now_ms), 'extra', '1')
  end
  if run.status == 'queued' or run.status == 'scheduled' then
    run_leave(run)
    run_end(run, {status = 'stopped'}, rid, retention_ms)
  else
    if run.status ~= 'stopping' then
      run_move(run, 'stopping')
    end
    redis.call('PUBLISH', k.ctl(run.inc), 'stop ' .. run.id)
    wake(run.id)
    work = work + 0.5
  end
end

-- Stops the children of what waits in stopq (run → score of the last child seen), at most max runs; the rest stays in stopq. True when something is left.
local function stop_descendants(max, rid, retention_ms)
  local budget = max
  while budget > 0 and work < WORK_MAX do
    local page = redis.call('HRANDFIELD', k.stopq, 1, 'WITHVALUES')
    if not page[1] then
      return false
    end
    local parent, from = page[1], page[2]
    local children = redis.call('ZRANGEBYSCORE', k.children(parent), '(' .. from, '+inf', 'WITHSCORES', 'LIMIT', 0, budget)
    if #children == 0 then
      redis.call('HDEL', k.stopq, parent)
      if redis.call('EXISTS', k.run(parent)) == 0 then
        redis.call('UNLINK', k.children(parent)) -- it was removed meanwhile
      end
      budget = budget - 1
    end
    for i = 1, #children, 2 do
      if work >= WORK_MAX then
        break
      end
      local child = run_get(children[i], CLOSE_FIELDS)
      if child then
        stop_one(child, rid, retention_ms)
        if redis.call('EXISTS', k.children(child.id)) == 1 then
          redis.call('HSET', k.stopq, child.id, '-1')
        end
      end
      redis.call('HSET', k.stopq, parent, children[i + 1])
      budget = budget - 1
    end
  end
  return redis.call('EXISTS', k.stopq) == 1
end
