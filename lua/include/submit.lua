-- Accepting a run: for the submit of a request and the tick of a schedule.
local REQS_MAX, GRAPH_MAX, ANCESTORS_MAX, HEADS_MAX = 256, 256, 64, 64

local NONE = {}

-- What several submissions of one call read, and what they count, by agent, queue, workspace, digest, requirement, key: read once, and written once behind the last of them. Whoever leaves the usual path writes it before (submit_flush), so that all
-- others see what is so. The tables stay from call to call, empty, because to make them costs as much as a command.
local agents, queues, waiting, stored, bounds, accepted, queued, refs, reqs, texts, bells, index
local heads, heads_len = {}, 0 -- KEPT: what a text says is always the same. Definitions by what their agents' `head` says, which is all that is read of such a one
local ended = false -- whether the last call came to its end
-- EACH CALL
if not ended then
  agents, queues, waiting, stored, bounds, accepted, queued, refs, reqs, texts, bells, index = {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}
end
ended = false

local function submit_flush()
  for ws, n in pairs(waiting) do
    if accepted[ws] then
      redis.call('HSET', k.use(ws), 'waiting', fmt(n), 'bytes', fmt(stored[ws]))
      accepted[ws] = nil
    end
    waiting[ws] = nil
  end
  for queue, n in pairs(queued) do
    redis.call('HINCRBY', k.queued, queue, fmt(n))
    queued[queue] = nil
  end
  for digest, n in pairs(refs) do
    redis.call('HINCRBY', k.def(digest), 'refs', fmt(n))
    refs[digest] = nil
  end
  for req, n in pairs(reqs) do
    req_ref(req, texts[req], n)
    reqs[req] = nil
  end
  for queue, n in pairs(bells) do
    bell_ring(queue, n)
    bells[queue] = nil
  end
  for key, members in pairs(index) do
    redis.call('ZADD', key, unpack(members))
    index[key] = nil
  end
end
-- EACH GROUP
later = nil

-- AT END
submit_flush()
for name in pairs(agents) do
  agents[name] = nil
end
for queue in pairs(queues) do
  queues[queue] = nil
end
ended = true

local function index_add(key, created, run)
  local members = index[key]
  if members then
    local n = #members
    members[n + 1], members[n + 2] = created, run
  else
    index[key] = {created, run}
  end
end

-- The definition: inline, by digest (a rerun), or the named agent's newest, with its digest and its version. nil: there is none, or (the code behind it) not the bundle that it names.
local function submit_definition_read(o)
  local digest, version = o.def_digest, o.version
  if digest == '' then
    local key, queue, executor = k.agent(o.ws, o.agent), nil, nil
    local head = redis.call('HGET', key, 'head')
    if not head then -- there is none, or an older version stored it
      version = redis.call('HGET', key, 'latest')
      if not version then
        return nil
      end
      head = version .. ' ' .. redis.call('HGET', key, 'v' .. version)
    end
    local def = heads[head]
    if def then
      return def
    end
    version, digest, queue, executor = string.match(head, '^(%d+) (%S+) ?(%S*) ?(%S*)$')
    if queue ~= '' then
      def = {digest = digest, version = version, plain = true, queue = queue, executor = executor, source = 'stdout', tags = '', needs = '', slots = '', startWithinMs = '', concurrency = '', rate = '', inputSchema = ''}
      heads_len = heads_len + 1
      if heads_len > HEADS_MAX then
        heads, heads_len = {}, 1
      end
      heads[head] = def
      return def
    end
  elseif #o.def_fields == 0 and redis.call('EXISTS', k.def(digest)) == 0 then
    return nil
  elseif version == '' then
    version = '0'
  end
  local def = {digest = digest, version = version}
  if not def_ready(o.ws, o.def_fields) then
    return nil, 'bundle_not_found'
  end
  if #o.def_fields > 0 then
    for i = 1, #o.def_fields, 2 do
      def[o.def_fields[i]] = o.def_fields[i + 1]
    end
  else
    local values = redis.call('HMGET', k.def(digest), unpack(DEF_FIELDS))
    for i, name in ipairs(DEF_FIELDS) do
      def[name] = values[i]
    end
  end
  for _, name in ipairs(DEF_FIELDS) do
    def[name] = def[name] or ''
  end
  return def
end

local function submit_definition(o)
  if o.def_digest ~= '' then
    return submit_definition_read(o)
  end
  local name = o.ws .. ':' .. o.agent
  local def, missing = agents[name], nil
  if not def then
    def, missing = submit_definition_read(o)
    agents[name] = def
  end
  return def, missing
end

-- What a runner must have: its text (sorted words; '' for the plain one) and its short name.
local function submit_requirement(o, def)
  local own = #o.requires == 0
  if own and def.req then
    return def.req_text, def.req
  end
  local words, seen = {}, {}
  local function add(word)
    if not seen[word] then
      seen[word] = true
      words[#words + 1] = word
    end
  end
  if def.executor ~= 'process' then
    add('@executor=' .. def.executor)
  end
  if def.slots ~= '' and def.slots ~= '1' then
    add('@slots=' .. def.slots)
  end
  for _, capability in ipairs(split(def.needs)) do
    add('@needs=' .. capability)
  end
  for _, tag in ipairs(split(def.tags)) do
    add(tag)
  end
  for _, tag in ipairs(o.requires) do
    add(tag)
  end
  table.sort(words)
  local text = table.concat(words, ' ')
  local req = text == '' and DEFAULTS.req or string.sub(redis.sha1hex(text), 1, 16)
  if own then
    def.req_text, def.req = text, req
  end
  return text, req
end

-- The runs that this one waits for. Returns an error code, or nil, the unfinished ones, the first that ended without success, and all, each once, for each tells once.
local function submit_dependencies(o)
  local open, failed, ids, named = {}, nil, {}, {}
  for _, id in ipairs(o.depends) do
    if not named[id] then
      named[id] = true
      ids[#ids + 1] = id
    end
  end
  for _, id in ipairs(ids) do
    local dep = run_get(id, {'ws', 'agent', 'queue'})
    if not dep or dep.ws ~= o.ws or not listed(o.agents_in or '', dep.agent) or not listed(o.queues_in or '', dep.queue) then
      return 'dependency_not_found'
    end
    if not TERMINAL[dep.status] then
      open[#open + 1] = id
    elseif dep.status ~= 'success' then
      failed = failed or {id = id, status = dep.status}
    end
  end
  if #open > 0 and o.parent ~= '' then
    -- A child that waits for its own ancestor, which may wait for the child.
    local above, at = {}, o.parent
    for _ = 1, ANCESTORS_MAX do
      above[at] = true
      at = redis.call('HGET', k.run(at), 'parent')
      if not at or at == '' then
        break
      end
    end
    local todo, seen, visited = {unpack(open)}, 0, {}
    while #todo > 0 do
      local id = table.remove(todo)
      if not visited[id] then
        visited[id] = true
        seen = seen + 1
        work = work + 0.04
        if above[id] or seen > GRAPH_MAX then
          return 'dependency_cycle'
        end
        for _, further in ipairs(split(redis.call('HGET', k.run(id), 'deps') or '')) do
          todo[#todo + 1] = further
        end
      end
    end
  end
  return nil, open, failed, ids
end

-- The gates that the run must pass, in the one order that all runs keep.
local function submit_gates(o, def, ws_limit)
  if #o.gates == 0 and def.concurrency == '' and def.rate == '' and not ws_limit then
    return NONE
  end
  local words, rates = {}, {}
  for _, word in ipairs(o.gates) do
    local into = string.sub(word, 1, 1) == 'r' and rates or words
    into[#into + 1] = word
  end
  if o.agent ~= '' and def.concurrency ~= '' then
    words[#words + 1] = 'a:' .. o.agent .. '=' .. def.concurrency
  end
  if ws_limit then
    words[#words + 1] = 'w=' .. ws_limit
  end
  for _, word in ipairs(rates) do
    words[#words + 1] = word
  end
  if o.agent ~= '' and def.rate ~= '' then
    words[#words + 1] = 'ra:' .. o.agent .. '=' .. def.rate
  end
  return words
end

-- Whether there is room for one more run: a code, or nil.
local function submit_room(o, queue, req, bytes)
  local ws = o.ws
  local settings = queues[queue]
  if settings == nil then
    settings = redis.call('EXISTS', k.queue(queue)) == 1 and redis.call('HMGET', k.queue(queue), 'draining', 'maxWaiting')
    queues[queue] = settings
  end
  if settings and settings[1] then
    return 'queue_draining'
  end
  if settings and settings[2] then
    submit_flush()
    if (redis.call('HGET', k.queued, queue) or 0) + (redis.call('HGET', k.scheduled, queue) or 0) >= settings[2] + 0 then
      return 'queue_full'
    end
  end
  local n, bound = waiting[ws], bounds[ws]
  if not n then
    local use = redis.call('HMGET', k.use(ws), 'waiting', 'bytes', 'bounded')
    n, bound = (use[1] or 0) + 0, use[3] and redis.call('HMGET', k.use(ws), 'w', 'queueMax', 'bytesMax', 'stored') or NONE
    waiting[ws], stored[ws], bounds[ws] = n, (use[2] or 0) + 0, bound
  end
  if n >= o.queue_max or (bound[2] and n >= bound[2] + 0) then
    return 'queue_full'
  end
  if bound[3] and stored[ws] + (bound[4] or 0) + bytes > bound[3] + 0 then
    return 'quota_exceeded'
  end
  if req ~= DEFAULTS.req and not reqs[req] and redis.call('HEXISTS', k.reqs, req) == 0 then
    submit_flush()
    waiting[ws], stored[ws] = n, stored[ws]
    if redis.call('HLEN', k.reqs) > REQS_MAX then
      return 'limit_exceeded'
    end
  end
  return nil
end

-- An Idempotency-Key's first run again; nil where the key is new.
local function submit_known(o)
  local taken = redis.call('GET', k.idem(o.ws, o.idem_key))
  if not taken then
    return nil
  end
  local digest, first, status = string.match(taken, '^(%S+) (%S+) (%S+)$')
  if digest ~= o.idem_digest then
    return {'idempotency_mismatch'}
  end
  local before = run_get(first, {'agent', 'queue'})
  if before and not (listed(o.agents_in or '', before.agent) and listed(o.queues_in or '', before.queue)) then
    return {'forbidden'}
  end
  return {'ok', first, status, 1, '', ''}
end

-- Whether the runs that this one comes from are there for it: a code, or nil.
local function submit_origins(o, redrive)
  if redrive ~= '' then
    local source = run_get(redrive, {'ws', 'deadLetter'})
    if not source or source.ws ~= o.ws then
      return 'run_not_found'
    end
    if source.deadLetter ~= '1' then
      return 'not_dead_letter'
    end
  end
  if o.parent ~= '' then
    local above = run_get(o.parent, {'ws', 'stopAt', 'treeStop', 'agent', 'queue'})
    if not above or above.ws ~= o.ws or not listed(o.agents_in or '', above.agent) or not listed(o.queues_in or '', above.queue) then
      return 'run_not_found'
    end
    if above.stopAt ~= '' or above.treeStop ~= '' then
      return 'parent_stopped'
    end
  end
  return nil
end

-- The bytes of the fields that come along, and whether a claim has to look for one of them; or a code.
local function submit_fields(o)
  local f, bytes, more, own_hook, again = o.fields, 0, false, nil, not o.asked
  for i = 1, #f, 2 do
    local name = f[i]
    bytes = bytes + #f[i + 1]
    if name == 'hook' then
      own_hook = f[i + 1]
    elseif name == 'rerunOf' or name == 'hookUrl' then
      again = true -- its source's webhook may be gone by now; it brings its own along
    end
    more = more or name == 'env' or name == 'traceparent' or name == 'hookUrl'
  end
  if own_hook and not again and redis.call('EXISTS', k.hook(o.ws, own_hook)) == 0 then
    return nil, 'webhook_not_found'
  end
  return bytes, more
end

local function put(f, name, value)
  local n = #f
  f[n + 1], f[n + 2] = name, value
end

-- What the record says of what the usual run has none of. Returns whether a claim has to look for any of it.
local function submit_rare(o, f, def, gates, depends, open)
  if o.parent ~= '' then
    put(f, 'parent', o.parent)
  end
  if def.source ~= DEFAULTS.source then
    put(f, 'source', def.source)
  end
  for name, value in pairs({timeoutMs = o.timeout_ms, maxAttempts = o.max_attempts, stallMs = o.stall_ms}) do
    if value ~= 0 then
      put(f, name, value)
    end
  end
  if def.slots ~= '' and def.slots ~= '1' then
    put(f, 'slots', def.slots)
  end
  if #gates > 0 then
    put(f, 'gates', table.concat(gates, ' '))
    put(f, 'gated', '0')
  end
  if o.on_limit == 'replace' then
    put(f, 'onLimit', o.on_limit)
  end
  if #depends > 0 then
    put(f, 'deps', table.concat(depends, ' '))
    if o.on_dep_fail ~= '' then
      put(f, 'onDepFail', o.on_dep_fail)
    end
    if #open > 0 then
      put(f, 'depsLeft', #open)
    end
  end
  return o.timeout_ms > 0 or o.stall_ms > 0 or #depends > 0 or #gates > 0
end

-- When it has to start at the latest (ms), '' for no such time: into its record, and among those that are looked at then.
local function submit_start_by(o, f, def, from_ms)
  local within = o.start_within_ms > 0 and o.start_within_ms or def.startWithinMs ~= '' and def.startWithinMs + 0 or 0
  if within > 0 then
    local start_by = fmt(from_ms + within)
    put(f, 'startBy', start_by)
    put(f, 'startWithinMs', fmt(within))
    redis.call('ZADD', k.expiry, start_by, o.run)
  end
end

-- Where the runs that it comes from, or waits for, say so.
local function submit_tell(o, redrive, open, created)
  if o.parent ~= '' then
    redis.call('ZADD', k.children(o.parent), created, o.run)
  end
  if redrive ~= '' then
    redis.call('ZREM', k.dead(o.ws), redrive)
    redis.call('HDEL', k.run(redrive), 'deadLetter')
    redis.call('HSET', k.run(redrive), 'redrivenAs', o.run)
  end
  for _, dep in ipairs(open) do
    redis.call('HSET', k.run(dep), 'dependents', '1', 'extra', '1')
    redis.call('SADD', k.dependents(dep), o.run)
  end
end

-- o: the arguments of submit by name; given: any of those is there that may be left out. Returns a reply: {'ok', run, status, replayed, '', ''}, or an error's code; then nothing was written. schema_unchecked says the definition's digest and
-- its inputSchema: the caller checks the input, which Lua can't, and asks again with that digest.
local function run_submit(o)
  local ws, id, f, rare = o.ws, o.run, o.fields, o.given -- rare: there may be more to it than to the usual run
  local again = rare and o.idem_key ~= '' and submit_known(o)
  if again then
    return again
  end
  local def, missing = submit_definition(o)
  if not def then
    return {missing or 'agent_not_found'}
  end
  local digest = def.digest
  if def.inputSchema ~= '' and o.schema_checked ~= digest then
    return {'schema_unchecked', '', '', 0, digest, def.inputSchema}
  end
  rare = rare or not def.plain
  local redrive, code, open, failed, depends = rare and o.redrive or '', nil, NONE, nil, NONE -- redrive: taken out in the same step, so that two redrives give one run
  if rare then
    code = submit_origins(o, redrive)
    if not code and #o.depends > 0 then
      code, open, failed, depends = submit_dependencies(o)
    end
    if code then
      return {code}
    end
  end
  local bytes, more = submit_fields(o)
  if not bytes then
    return {more}
  end
  local req_text, req = submit_requirement(o, def)
  local queue, priority = o.queue ~= '' and o.queue or def.queue, o.priority ~= '' and o.priority or DEFAULTS.priority
  if rare and not listed(o.queues_in or '', queue) then
    return {'forbidden'}
  end
  code = submit_room(o, queue, req, bytes)
  if code then
    return {code}
  end
  local gates = submit_gates(o, def, bounds[ws][1])
  if #gates > 0 and o.on_limit == 'reject' then
    local g = gate_parse(gates[1])
    if redis.call('ZCARD', k.gate(ws, g.name)) + redis.call('ZCARD', k.wait(ws, g.name)) >= g.limit then
      return {'concurrency_limit'}
    end
  end

  -- Nothing is refused from here on.
  rare = rare or #gates > 0
  local due, status, straight = 0, 'queued', true -- straight: into its lane, with all that its record says
  if rare then
    due = o.delay_ms > 0 and now_ms + o.delay_ms or o.scheduled_ms > now_ms and o.scheduled_ms or 0
    status = (due > 0 or #open > 0) and 'scheduled' or 'queued'
    straight = status == 'queued' and #gates == 0 and not failed
  end
  if #o.def_fields > 0 then
    def_ref(digest, o.def_fields)
  else
    refs[digest] = (refs[digest] or 0) + 1
  end
  for i = #f - 1, 1, -2 do
    local name, value = f[i], f[i + 1]
    if #value > INLINE_MAX and (name == 'input' or name == 'env') then
      redis.call('SET', name == 'input' and k.input(id) or k.env(id), value)
      local n = #f
      f[i], f[i + 1], f[n - 1], f[n] = f[n - 1], f[n], nil, nil
    end
  end
  local created = fmt(now_us)
  local entry = straight and lane_begin(id, queue, req, ws, priority, created)
  if entry then
    put(f, 'laneId', entry)
  end
  if o.agent ~= '' then
    put(f, 'agent', o.agent)
  end
  if queue ~= DEFAULTS.queue then
    put(f, 'queue', queue)
  end
  if priority ~= DEFAULTS.priority then
    put(f, 'priority', priority)
  end
  if def.executor ~= DEFAULTS.executor then
    put(f, 'executor', def.executor)
  end
  if req ~= DEFAULTS.req then
    put(f, 'req', req)
    put(f, 'reqText', req_text)
  end
  if rare then
    more = submit_rare(o, f, def, gates, depends, open) or more
    submit_start_by(o, f, def, due > 0 and due or now_ms)
    if due > 0 then
      put(f, 'scheduled', fmt(due))
    end
  end
  if more then
    put(f, 'more', '1')
  end
  redis.call('HSET', k.run(id), 'ws', ws, 'def', digest, 'status', status, 'made', created .. ' ' .. fmt(bytes) .. ' ' .. def.version .. ' ' .. rid_short(o.rid), unpack(f))
  waiting[ws], stored[ws], accepted[ws] = waiting[ws] + 1, stored[ws] + bytes, true
  if req ~= DEFAULTS.req then
    reqs[req], texts[req] = (reqs[req] or 0) + 1, req_text
  end
  index_add(k.idx(ws, ''), created, id)
  if o.agent ~= '' then
    index_add(k.idx(ws, o.agent), created, id)
  end
  if straight then
    queued[queue] = (queued[queue] or 0) + 1
    bells[queue] = (bells[queue] or 0) + 1
  else
    submit_flush()
    redis.call('HINCRBY', k.class(status), queue, '1')
  end
  if rare then
    submit_tell(o, redrive, open, created)
    if failed and o.on_dep_fail ~= 'run' then
      run_give_up(run_get(id, CLOSE_FIELDS), 'start_failed', 'its dependency ' .. failed.id .. ' ended as ' .. failed.status, o.rid, o.retention_ms)
      status = 'error'
    elseif #open == 0 and due > 0 then
      delay_add({id = id}, due)
    elseif #open == 0 and not straight then
      local run = {id = id, ws = ws, queue = queue, req = req, reqText = req_text, priority = priority, gates = table.concat(gates, ' '), gated = '0', createdUs = created, onLimit = o.on_limit}
      if o.on_limit == 'replace' then
        replace_others(run, o.rid, o.retention_ms)
      end
      run_admit(run)
    end
    if o.idem_key ~= '' then
      redis.call('SET', k.idem(ws, o.idem_key), o.idem_digest .. ' ' .. id .. ' ' .. status, 'PX', 86400000)
    end
  end
  return {'ok', id, status, 0, '', ''}
end
