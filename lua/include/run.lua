-- The run record, and the table of status edges: no other code changes a status.
local EDGES = {
  scheduled = {queued = true, stopped = true},
  queued = {provisioning = true, error = true, stopped = true},
  provisioning = {running = true, stopping = true, success = true, error = true, stopped = true, scheduled = true, queued = true},
  running = {stopping = true, success = true, error = true, stopped = true, scheduled = true, queued = true},
  stopping = {stopped = true},
}
local TERMINAL = {success = true, error = true, stopped = true}
-- What a status counts as, by queue.
local CLASS = {scheduled = 'scheduled', queued = 'queued', provisioning = 'active', running = 'active', stopping = 'active'}
local WAITS = {scheduled = 1, queued = 1}
local KEPT_ATTEMPTS = 100

-- Some fields of a run as a table, missing ones as ''; nil when there is no such run.
local function run_get(id, fields)
  local values = redis.call('HMGET', k.run(id), 'status', unpack(fields))
  if not values[1] then
    return nil
  end
  local run = {id = id, status = values[1]}
  for i, field in ipairs(fields) do
    run[field] = values[i + 1] or ''
  end
  return run
end

-- Whether an edge exists; to be called before the first write.
local function check_edge(run, to)
  if not (EDGES[run.status] and EDGES[run.status][to]) then
    error('illegal edge ' .. run.status .. ' to ' .. to .. ' of ' .. run.id)
  end
end

-- Counts a run (ws, queue) that comes from one status to another; '' is none.
local function run_count(run, from, to)
  local before, after = CLASS[from], CLASS[to]
  if before == after then
    return
  end
  if before then
    add_count(k[before], run.queue, -1)
  end
  if after then
    add_count(k[after], run.queue, 1)
  end
  local waiting = (WAITS[to] or 0) - (WAITS[from] or 0)
  if waiting ~= 0 then
    add_count(k.use(run.ws), 'waiting', waiting)
  end
end

-- Wants the fields ws and queue, but between two statuses of one class.
local function run_move(run, to)
  check_edge(run, to)
  redis.call('HSET', k.run(run.id), 'status', to)
  run_count(run, run.status, to)
  run.status = to
end

-- The name of a field of attempt n.
local function af(n, field)
  return 'a' .. n .. ':' .. field
end

local function wake(id, message)
  redis.call('PUBLISH', k.wake(id), message or '')
end
