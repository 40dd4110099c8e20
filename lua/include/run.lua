-- The run record, and the table of status edges: no other code changes a status.
local EDGES = {
  scheduled = {queued = true, stopped = true},
  queued = {provisioning = true, error = true, stopped = true},
  provisioning = {running = true, stopping = true, success = true, error = true, stopped = true, scheduled = true, queued = true},
  running = {stopping = true, success = true, error = true, stopped = true, scheduled = true, queued = true},
  stopping = {stopped = true},
}
local TERMINAL = {success = true, error = true, stopped = true}
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

local function run_move(run, to)
  check_edge(run, to)
  redis.call('HSET', k.run(run.id), 'status', to)
  run.status = to
end

-- The name of a field of attempt n.
local function af(n, field)
  return 'a' .. n .. ':' .. field
end

local function wake(id, message)
  redis.call('PUBLISH', k.wake(id), message or '')
end
