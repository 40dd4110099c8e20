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
-- Fields that a run has only where they are not this (a queued run is to be small).
local DEFAULTS = {attempt = '0', failures = '0', losses = '0', epoch = '0', req = '-', source = 'stdout', executor = 'process', priority = 'normal', queue = 'default'}
-- How much this call has done, 1 being about what the end of a run costs: steps of scripts that may have much to do at once end by it, so that no call keeps all others waiting for long.
local work
local WORK_MAX, WORK_PART, GROUP_WORK = 64, 32, 16
local INLINE_MAX = 64 -- a longer input or environment has a key of its own: with short values only Redis keeps a hash packed
-- EACH CALL
work = 0

-- EACH FURTHER
full = work >= GROUP_WORK

-- What a submission says once stands in one field, for each costs: `made`, `CREATED_US BYTES VERSION RID`. VERSION is its agent's (0 for an inline definition); the field `rid` holds from the first claim on (or since it was said of a
-- waiting run that nobody serves it), `size` from its end.
local MADE = {createdUs = true, agentVersion = true, size = true, rid = true}
local function made_of(text)
  return string.match(text, '^(%d+) (%d+) (%d+) (.*)$')
end

local function made_take(run)
  if run.made and run.made ~= '' then -- asked for, it gives what is in it
    local created, size, version, rid = made_of(run.made)
    run.createdUs, run.agentVersion = created, version ~= '0' and version or ''
    if run.size == '' then
      run.size = size
    end
    if run.rid == '' then
      run.rid = rid
    end
  end
end

-- Some fields of a run as a table, missing ones by DEFAULTS or as ''; nil when there is no such run. Redis looks for each field from the record's beginning on (0.3 µs for one that is not there): ask for few.
local function run_get(id, fields)
  local values = redis.call('HMGET', k.run(id), 'status', unpack(fields))
  if not values[1] then
    return nil
  end
  local run = {id = id, status = values[1]}
  for i, field in ipairs(fields) do
    run[field] = values[i + 1] or DEFAULTS[field] or ''
  end
  made_take(run)
  return run
end

-- A whole record as Redis gives it, and as a table, in which these fields are there in any case; the table is empty where there is no such run.
local function run_read(id, fields)
  local record, run = redis.call('HGETALL', k.run(id)), {}
  if record[1] then
    run.id = id
    for i = 1, #record, 2 do
      run[record[i]] = record[i + 1]
    end
    for _, field in ipairs(fields) do
      run[field] = run[field] or DEFAULTS[field] or ''
    end
    made_take(run)
  end
  return record, run
end

-- Whether an edge exists; to be called before the first write.
local function check_edge(run, to)
  if not (EDGES[run.status] and EDGES[run.status][to]) then
    error('illegal edge ' .. run.status .. ' to ' .. to .. ' of ' .. run.id)
  end
end

-- A requirement is known by name for as long as a run that waits has it, in a lane or elsewhere: so their number is bounded when runs are accepted. Each change gives the whole another version: the time.
local function reqs_version()
  return table.concat(redis.call('TIME'), '.')
end

local function req_ref(req, text, n)
  if redis.call('HINCRBY', k.reqn, req, n or 1) == (n or 1) then
    redis.call('HSET', k.reqs, req, text, '#', reqs_version())
  end
end

local function req_unref(req, n)
  if redis.call('HINCRBY', k.reqn, req, -(n or 1)) <= 0 then
    redis.call('HDEL', k.reqn, req)
    redis.call('HDEL', k.reqs, req)
    if redis.call('HLEN', k.reqs) == 1 then
      redis.call('DEL', k.reqs)
    else
      redis.call('HSET', k.reqs, '#', reqs_version())
    end
  end
end

-- Counts a run (ws, queue, req, reqText) that comes from one status to another; '' is none.
local function run_count(run, from, to)
  local before, after = CLASS[from], CLASS[to]
  if before == after then
    return
  end
  if before then
    count_later(k.class(before), run.queue, -1)
  end
  if after then
    count_later(k.class(after), run.queue, 1)
  end
  local waiting = (WAITS[to] or 0) - (WAITS[from] or 0)
  if waiting ~= 0 then
    add_count(k.use(run.ws), 'waiting', waiting)
    if waiting > 0 and run.req ~= '-' then
      req_ref(run.req, run.reqText)
    elseif run.req ~= '-' then
      req_unref(run.req)
    end
  end
end

-- Wants the fields ws, queue, req and reqText, but between two statuses of one class. fields: what else is to change in the record, as names and values.
local function run_move(run, to, fields)
  check_edge(run, to)
  redis.call('HSET', k.run(run.id), 'status', to, unpack(fields or {}))
  run_count(run, run.status, to)
  run.status = to
end

-- What stands in a record of attempt n, in few fields, because each costs wherever the record is read: `aN`, from its claim: `EPOCH FIRST_SEQ CLAIMED_MS CLAIM_NO RUNNER`; from its start aN:tok (SHA-256 of its token),
-- aN:handle, and aN:started (ms) where that is not the run's own first start; from its end `aN:end`: `STATUS BY ENDED_MS EXIT_CODE` (EXIT_CODE may be missing), and aN:error. aN:stats and aN:secrets come in between.
local function af(n, field)
  return 'a' .. n .. ':' .. field
end

-- Of `aN`: epoch, first seq, time and number of the claim; zeros where there is none.
local function attempt_claim(text)
  local epoch, first, claimed, claim_no = string.match(text or '', '^(%d+) (%d+) (%d+) (%d+) ')
  return tonumber(epoch or 0), tonumber(first or 0), tonumber(claimed or 0), tonumber(claim_no or 0)
end

-- Of `aN:end`: which script closed it; nil where none did.
local function attempt_closer(text)
  return string.match(text or '', '^%S+ (%S+)')
end

local function wake(id, message)
  redis.call('PUBLISH', k.wake(id), message or '')
end

-- A restart of Redis since something was written shows in the beginning of its run id.
local function rid_short(rid)
  return string.sub(rid, 1, 8)
end

-- What the run's definition says that it does not say itself (fields of both; wants def and those names). The definition lives as long as its runs.
local function run_policy(run, names)
  local values = redis.call('HMGET', k.def(run.def), unpack(names))
  for i, name in ipairs(names) do
    if not run[name] or run[name] == '' then
      run[name] = values[i] or ''
    end
  end
end

-- A run's input and environment, wherever they are.
local function run_input(run)
  if run.input ~= '' and run.env ~= '' then
    return run.input, run.env
  end
  local apart = redis.call('MGET', k.input(run.id), k.env(run.id))
  return run.input ~= '' and run.input or apart[1] or '', run.env ~= '' and run.env or apart[2] or ''
end

-- Puts what is not in the run hash itself, or not by its name, behind its fields: input, env, and what the definition says. run: def, input, env, maxAttempts, timeoutMs; and made and queue, where these are wanted.
local function run_complete(run, record)
  local input, env = run_input(run)
  local function put(name, value)
    record[#record + 1] = name
    record[#record + 1] = value
  end
  if run.made then
    put('createdUs', run.createdUs)
    put('agentVersion', run.agentVersion)
    put('queue', run.queue)
  end
  if run.input == '' then
    put('input', input)
  end
  if run.env == '' and env ~= '' then
    put('env', env)
  end
  if run.maxAttempts == '' then
    put('maxAttempts', redis.call('HGET', k.def(run.def), 'maxAttempts') or '1')
  end
end
