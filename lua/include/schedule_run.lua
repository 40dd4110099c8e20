-- Whether the last run of a schedule is not over. A run that waits for a retry holds no gate, and one that waits for its jitter has none yet, so the record says it, not the gate.
local function schedule_busy(last_run)
  local status = last_run ~= '' and redis.call('HGET', k.run(last_run), 'status')
  return status and not TERMINAL[status]
end

-- The input of a schedule's runs.
local function schedule_input(s)
  local t = cmsgpack.unpack(s.template)
  for i = 1, #t.fields, 2 do
    if t.fields[i] == 'input' then
      return t.fields[i + 1]
    end
  end
  return 'null'
end

-- Submits a run by the template of a schedule. s: its fields overlap, template, lastRun; o: run, tick, scheduled_ms, rid, idem_key, idem_digest, created_by ('' keeps the template's), schema_checked. Returns a reply of run_submit;
-- concurrency_limit when an earlier run is not over and overlap says skip.
local function schedule_run(ws, name, s, o)
  local t = cmsgpack.unpack(s.template)
  t.ws, t.run, t.rid, t.scheduled_ms, t.idem_key, t.idem_digest = ws, o.run, o.rid, o.scheduled_ms, o.idem_key, o.idem_digest
  t.schema_checked, t.given = o.schema_checked, true
  t.version, t.delay_ms, t.parent, t.depends, t.on_dep_fail, t.def_fields = '', 0, '', {}, '', {}
  if s.overlap ~= 'allow' then
    table.insert(t.gates, 1, 's:' .. name .. '=1')
    t.on_limit = s.overlap == 'skip' and 'reject' or s.overlap
  end
  local known = o.idem_key ~= '' and redis.call('EXISTS', k.idem(ws, o.idem_key)) == 1
  if s.overlap == 'skip' and not known and schedule_busy(s.lastRun) then
    return {'concurrency_limit'}
  end
  for i = 1, #t.fields, 2 do
    if t.fields[i] == 'createdBy' and o.created_by ~= '' then
      t.fields[i + 1] = o.created_by
    end
  end
  for _, value in ipairs({'schedule', name, 'tick', fmt(o.tick)}) do
    t.fields[#t.fields + 1] = value
  end
  local reply = run_submit(t)
  local key = k.schedule(ws, name)
  if reply[1] == 'ok' and reply[4] == 0 then
    redis.call('HSET', key, 'last', fmt(o.tick), 'lastRun', o.run)
    redis.call('HINCRBY', key, 'runs', 1)
    redis.call('HDEL', key, 'lastError')
  end
  return reply
end
