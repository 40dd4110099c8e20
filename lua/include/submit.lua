-- Accepting a run: for the submit of a request and the tick of a schedule.
local REQS_MAX, GRAPH_MAX, ANCESTORS_MAX = 256, 256, 64

-- The definition: inline, by digest (a rerun), or the named agent's newest. nil: there is none, or (the code behind it) not the bundle that it names.
local function submit_definition(o)
  if o.def_digest == '' then
    local head = known(k.agent(o.ws, o.agent), 'latest', 'digest', 'plain')
    if not head[1] then
      return nil
    end
    o.version, o.def_digest = head[1], head[2] or redis.call('HGET', k.agent(o.ws, o.agent), 'v' .. head[1]) -- one that an older version stored
    local queue, executor = string.match(head[3] or '', '^(%S+) (%S+)$')
    if queue then
      return {queue = queue, executor = executor, source = 'stdout', tags = '', needs = '', slots = '', startWithinMs = '', concurrency = '', rate = '', inputSchema = ''}
    end
  elseif #o.def_fields == 0 and redis.call('EXISTS', k.def(o.def_digest)) == 0 then
    return nil
  elseif o.version == '' then
    o.version = '0'
  end
  local def = {}
  if not def_ready(o.ws, o.def_fields) then
    return nil, 'bundle_not_found'
  end
  if #o.def_fields > 0 then
    for i = 1, #o.def_fields, 2 do
      def[o.def_fields[i]] = o.def_fields[i + 1]
    end
  else
    local values = redis.call('HMGET', k.def(o.def_digest), unpack(DEF_FIELDS))
    for i, name in ipairs(DEF_FIELDS) do
      def[name] = values[i]
    end
  end
  for _, name in ipairs(DEF_FIELDS) do
    def[name] = def[name] or ''
  end
  return def
end

-- What a runner must have: its text (sorted words; '' for the plain one) and its short name.
local function submit_requirement(o, def)
  if def.executor == 'process' and def.tags == '' and def.needs == '' and #o.requires == 0 and (def.slots == '' or def.slots == '1') then
    return '', '-'
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
  if #words == 0 then
    return '', '-'
  end
  table.sort(words)
  local text = table.concat(words, ' ')
  return text, string.sub(redis.sha1hex(text), 1, 16)
end

-- The runs that this one waits for. Returns an error code, or the unfinished ones and the first that ended without success.
local function submit_dependencies(o)
  local open, failed, ids, known = {}, nil, {}, {}
  for _, id in ipairs(o.depends) do
    if not known[id] then
      known[id] = true
      ids[#ids + 1] = id
    end
  end
  o.depends = ids -- each tells once
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
        if above[id] or seen > GRAPH_MAX then
          return 'dependency_cycle'
        end
        for _, further in ipairs(split(redis.call('HGET', k.run(id), 'deps') or '')) do
          todo[#todo + 1] = further
        end
      end
    end
  end
  return nil, open, failed
end

-- The gates that the run must pass, in the one order that all runs keep.
local function submit_gates(o, def, ws_limit)
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

-- Whether there is room for one more run: a code, or nil and what the workspace uses: runs that wait, bytes, and its bound on what is executed.
local function submit_room(o, queue, req, bytes)
  local settings = known(k.queue(queue), 'draining', 'maxWaiting')
  if settings[1] then
    return 'queue_draining'
  end
  if settings[2] then
    later_write()
    local waiting = tonumber(redis.call('HGET', k.queued, queue) or '0') + tonumber(redis.call('HGET', k.scheduled, queue) or '0')
    if waiting >= tonumber(settings[2]) then
      return 'queue_full'
    end
  end
  local use = known(k.use(o.ws), 'waiting', 'bytes', 'w', 'queueMax', 'bytesMax', 'stored')
  local ws_waiting, ws_bytes = tonumber(use[1] or '0'), tonumber(use[2] or '0')
  if ws_waiting >= math.min(o.queue_max, tonumber(use[4] or '') or o.queue_max) then
    return 'queue_full'
  end
  if use[5] and ws_bytes + tonumber(use[6] or '0') + bytes > tonumber(use[5]) then
    return 'quota_exceeded'
  end
  if req ~= '-' and redis.call('HEXISTS', k.reqs, req) == 0 and redis.call('HLEN', k.reqs) > REQS_MAX then
    return 'limit_exceeded'
  end
  return nil, use, use[3]
end

-- o: the arguments of submit by name. Returns a reply: {'ok', run, status, replayed, '', ''}, or an error's code; then nothing was written. schema_unchecked says the definition's digest and its inputSchema: the
-- caller checks the input, which Lua can't, and asks again with that digest.
local function run_submit(o)
  if o.idem_key ~= '' then
    local known = redis.call('GET', k.idem(o.ws, o.idem_key))
    if known then
      local digest, first, status = string.match(known, '^(%S+) (%S+) (%S+)$')
      if digest ~= o.idem_digest then
        return {'idempotency_mismatch'}
      end
      local before = run_get(first, {'agent', 'queue'})
      if before and not (listed(o.agents_in or '', before.agent) and listed(o.queues_in or '', before.queue)) then
        return {'forbidden'}
      end
      return {'ok', first, status, 1, '', ''}
    end
  end
  local def, missing = submit_definition(o)
  if not def then
    return {missing or 'agent_not_found'}
  end
  if def.inputSchema ~= '' and o.schema_checked ~= o.def_digest then
    return {'schema_unchecked', '', '', 0, o.def_digest, def.inputSchema}
  end
  local redrive = o.redrive or '' -- taken out in the same step, so that two redrives give one run
  if redrive ~= '' then
    local source = run_get(redrive, {'ws', 'deadLetter'})
    if not source or source.ws ~= o.ws then
      return {'run_not_found'}
    end
    if source.deadLetter ~= '1' then
      return {'not_dead_letter'}
    end
  end
  if o.parent ~= '' then
    local above = run_get(o.parent, {'ws', 'stopAt', 'treeStop', 'agent', 'queue'})
    if not above or above.ws ~= o.ws or not listed(o.agents_in or '', above.agent) or not listed(o.queues_in or '', above.queue) then
      return {'run_not_found'}
    end
    if above.stopAt ~= '' or above.treeStop ~= '' then
      return {'parent_stopped'}
    end
  end
  local code, open, failed = nil, {}, nil
  if #o.depends > 0 then
    code, open, failed = submit_dependencies(o)
    if code then
      return {code}
    end
  end
  local bytes = 0
  for i = 2, #o.fields, 2 do
    bytes = bytes + #o.fields[i]
  end
  local req_text, req = submit_requirement(o, def)
  local queue = o.queue ~= '' and o.queue or def.queue
  if not listed(o.queues_in or '', queue) then
    return {'forbidden'}
  end
  local use, ws_limit
  code, use, ws_limit = submit_room(o, queue, req, bytes)
  if code then
    return {code}
  end
  local gates = submit_gates(o, def, ws_limit)
  if o.on_limit == 'reject' and #gates > 0 then
    local g = gate_parse(gates[1])
    if redis.call('ZCARD', k.gate(o.ws, g.name)) + redis.call('ZCARD', k.wait(o.ws, g.name)) >= g.limit then
      return {'concurrency_limit'}
    end
  end

  -- Nothing is refused from here on.
  local due = 0
  if o.delay_ms > 0 then
    due = now_ms + o.delay_ms
  elseif o.scheduled_ms > now_ms then
    due = o.scheduled_ms
  end
  local status = (due > 0 or #open > 0) and 'scheduled' or 'queued'
  def_ref(o.def_digest, o.def_fields)
  local created = fmt(now_us)
  local f = {'ws', o.ws, 'def', o.def_digest, 'status', status, 'queue', queue, 'createdUs', created, 'rid', rid_short(o.rid), 'size', bytes}
  local n = #f
  local function set(name, value, default)
    if value ~= default then
      f[n + 1], f[n + 2] = name, value
      n = n + 2
    end
  end
  set('agent', o.agent, '')
  set('agentVersion', o.version, '0')
  set('priority', o.priority, DEFAULTS.priority)
  set('parent', o.parent, '')
  set('req', req, DEFAULTS.req)
  set('source', def.source, DEFAULTS.source)
  set('executor', def.executor, DEFAULTS.executor)
  set('timeoutMs', o.timeout_ms, 0)
  set('maxAttempts', o.max_attempts, 0)
  set('stallMs', o.stall_ms, 0)
  local more = o.timeout_ms > 0 or o.stall_ms > 0 or #gates > 0 or #o.depends > 0 -- what a claim looks for only where this says so
  if req_text ~= '' then
    set('reqText', req_text)
  end
  if def.slots ~= '' and def.slots ~= '1' then
    set('slots', def.slots)
  end
  if #gates > 0 then
    set('gates', table.concat(gates, ' '))
    set('gated', '0')
  end
  if o.on_limit == 'replace' then
    set('onLimit', o.on_limit)
  end
  local start_within = o.start_within_ms > 0 and o.start_within_ms or tonumber(def.startWithinMs) or 0
  local start_by = ''
  if start_within > 0 then
    start_by = fmt((due > 0 and due or now_ms) + start_within)
    set('startBy', start_by)
    set('startWithinMs', fmt(start_within))
  end
  if #o.depends > 0 then
    set('deps', table.concat(o.depends, ' '))
    if o.on_dep_fail ~= '' then
      set('onDepFail', o.on_dep_fail)
    end
    if #open > 0 then
      set('depsLeft', #open)
    end
  end
  if due > 0 then
    set('scheduled', fmt(due))
  end
  for i = 1, #o.fields, 2 do
    local name, value = o.fields[i], o.fields[i + 1]
    more = more or name == 'env' or name == 'traceparent' or name == 'hookUrl'
    if #value > INLINE_MAX and (name == 'input' or name == 'env') then
      redis.call('SET', name == 'input' and k.input(o.run) or k.env(o.run), value)
    else
      set(name, value)
    end
  end
  if more then
    set('more', '1')
  end
  local straight = status == 'queued' and #gates == 0 and not failed -- into its lane, with all that its record says
  if straight then
    set('lane', o.priority)
    set('laneId', lane_put({id = o.run, ws = o.ws, queue = queue, req = req}, o.priority))
  end
  redis.call('HSET', k.run(o.run), unpack(f))
  use[1], use[2] = (use[1] or 0) + 1, (use[2] or 0) + bytes
  if later then
    set_later(k.use(o.ws), 'waiting', use[1])
    set_later(k.use(o.ws), 'bytes', use[2])
  else
    redis.call('HSET', k.use(o.ws), 'waiting', use[1], 'bytes', use[2])
  end
  count_later(k.class(status), queue, 1)
  if req ~= '-' then
    req_ref(req, req_text)
  end
  entry_later(k.idx(o.ws, ''), created, o.run)
  if o.agent ~= '' then
    entry_later(k.idx(o.ws, o.agent), created, o.run)
  end
  if o.parent ~= '' then
    redis.call('ZADD', k.children(o.parent), created, o.run)
  end
  if redrive ~= '' then
    redis.call('ZREM', k.dead(o.ws), redrive)
    redis.call('HDEL', k.run(redrive), 'deadLetter')
    redis.call('HSET', k.run(redrive), 'redrivenAs', o.run)
  end
  if start_by ~= '' then
    redis.call('ZADD', k.expiry, start_by, o.run)
  end
  if not straight then -- what follows may count as well
    later_write()
  end
  for _, dep in ipairs(open) do
    redis.call('HSET', k.run(dep), 'dependents', '1', 'extra', '1')
    redis.call('SADD', k.dependents(dep), o.run)
  end
  if failed and o.on_dep_fail ~= 'run' then
    run_give_up(run_get(o.run, CLOSE_FIELDS), 'start_failed', 'its dependency ' .. failed.id .. ' ended as ' .. failed.status, o.rid, o.retention_ms)
    status = 'error'
  elseif #open == 0 and due > 0 then
    delay_add({id = o.run}, due)
  elseif #open == 0 and not straight then
    local run = {id = o.run, ws = o.ws, queue = queue, req = req, reqText = req_text, priority = o.priority, gates = table.concat(gates, ' '), gated = '0', createdUs = created, onLimit = o.on_limit}
    if o.on_limit == 'replace' then
      replace_others(run, o.rid, o.retention_ms)
    end
    run_admit(run)
  end
  if not straight then
    later_write()
  end
  if o.idem_key ~= '' then
    redis.call('SET', k.idem(o.ws, o.idem_key), o.idem_digest .. ' ' .. o.run .. ' ' .. status, 'PX', 86400000)
  end
  return {'ok', o.run, status, 0, '', ''}
end
