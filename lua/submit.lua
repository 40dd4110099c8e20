-- submit: accepts a run, or answers an Idempotency-Key's first run again. The run is then `queued` (in its lane, with a bell) or `scheduled` (in the delayed set).
-- INCLUDE keys time run lane def
-- ARGV
--   run          str   new run id
--   ws           str   workspace
--   idem_key     str   Idempotency-Key, '' for none
--   idem_digest  str   digest of what was asked
--   agent        str   agent name; for an inline definition its "name" or ''
--   def_digest   str   digest of an inline definition; '' means: the named agent's latest version
--   version      str   of the agent, where def_digest is a named agent's (a rerun); else ''
--   def_fields   list  field, value, … of an inline definition's def hash (json, queue, timeoutMs, graceMs, maxAttempts, atMostOnce, backoffType, backoffBaseMs, backoffCapMs, source, executor, req); empty when named
--   queue        str   '' means the definition's
--   priority     str   high, normal or low
--   delay_ms     int   0 for none
--   scheduled_ms int   absolute due time, 0 for none
--   timeout_ms   int   0 means the definition's
--   max_attempts int   0 means the definition's
--   parent       str   parent run id or ''
--   fields       list  field, value, … kept in the run hash as they are: input, env, labels, createdBy, sessionId, traceparent, rerunOf
--   queue_max    int   runs that may wait in a queue, those that wait for their time included
--   rid          str   Redis server's run id as the caller's connection sees it: a claim that a crashed Redis forgot leaves a gap too
-- REPLY
--   run          str   the run's id (the first one's when replayed)
--   status       str   as first answered
--   replayed     int   1 when the Idempotency-Key was known
-- ERRORS agent_not_found run_not_found parent_stopped idempotency_mismatch queue_full

if idem_key ~= '' then
  local known = redis.call('GET', k.idem(ws, idem_key))
  if known then
    local digest, first, status = string.match(known, '^(%S+) (%S+) (%S+)$')
    if digest ~= idem_digest then
      return {'idempotency_mismatch'}
    end
    return {'ok', first, status, 1}
  end
end

-- The definition: inline, by digest (a rerun), or the named agent's newest.
if def_digest == '' then
  version = redis.call('HGET', k.agent(ws, agent), 'latest')
  if not version then
    return {'agent_not_found'}
  end
  def_digest = redis.call('HGET', k.agent(ws, agent), 'v' .. version)
elseif #def_fields == 0 and redis.call('EXISTS', k.def(def_digest)) == 0 then
  return {'agent_not_found'}
elseif version == '' then
  version = '0'
end
local def = {}
if #def_fields > 0 then
  for i = 1, #def_fields, 2 do
    def[def_fields[i]] = def_fields[i + 1]
  end
else
  local names = {'queue', 'timeoutMs', 'graceMs', 'maxAttempts', 'atMostOnce', 'backoffType', 'backoffBaseMs', 'backoffCapMs', 'source', 'executor', 'req'}
  local values = redis.call('HMGET', k.def(def_digest), unpack(names))
  for i, name in ipairs(names) do
    def[name] = values[i] or ''
  end
end

if parent ~= '' then
  local above = run_get(parent, {'ws', 'stopAt'})
  if not above or above.ws ~= ws then
    return {'run_not_found'}
  end
  if above.stopAt ~= '' then
    return {'parent_stopped'}
  end
end
local record = {id = run, ws = ws, queue = queue ~= '' and queue or def.queue, req = def.req}
local waiting = tonumber(redis.call('HGET', k.queued, record.queue) or '0') + tonumber(redis.call('HGET', k.scheduled, record.queue) or '0')
if waiting >= queue_max then
  return {'queue_full'}
end
if redis.call('EXISTS', k.run(run)) == 1 then
  return {'internal'}
end

-- Nothing is refused from here on.
local due = 0
if delay_ms > 0 then
  due = now_ms + delay_ms
elseif scheduled_ms > now_ms then
  due = scheduled_ms
end
local status = due > 0 and 'scheduled' or 'queued'
def_ref(def_digest, def_fields)
redis.call('HSET', k.run(run), 'ws', ws, 'agent', agent, 'agentVersion', version, 'def', def_digest, 'status', status, 'queue', record.queue, 'priority', priority,
  'created', fmt(now_ms), 'createdUs', fmt(now_us), 'parent', parent,
  'timeoutMs', timeout_ms > 0 and fmt(timeout_ms) or def.timeoutMs, 'graceMs', def.graceMs,
  'maxAttempts', max_attempts > 0 and fmt(max_attempts) or def.maxAttempts, 'atMostOnce', def.atMostOnce,
  'backoffType', def.backoffType, 'backoffBaseMs', def.backoffBaseMs, 'backoffCapMs', def.backoffCapMs,
  'source', def.source, 'executor', def.executor, 'req', def.req, 'attempt', '0', 'failures', '0', 'losses', '0', 'epoch', '0', 'rid', rid)
if #fields > 0 then
  redis.call('HSET', k.run(run), unpack(fields))
end
redis.call('XADD', k.events(run), 'MAXLEN', 0, '0-1', 'x', '') -- an empty stream: NOMKSTREAM tells it from a run that is gone
redis.call('ZADD', k.idx(ws, ''), fmt(now_us), run)
if agent ~= '' then
  redis.call('ZADD', k.idx(ws, agent), fmt(now_us), run)
end
if parent ~= '' then
  redis.call('ZADD', k.children(parent), fmt(now_us), run)
end
if due > 0 then
  redis.call('HSET', k.run(run), 'scheduled', fmt(due))
  delay_add(record, due)
else
  lane_add(record, priority)
end
if idem_key ~= '' then
  redis.call('SET', k.idem(ws, idem_key), idem_digest .. ' ' .. run .. ' ' .. status, 'PX', 86400000)
end
return {'ok', run, status, 0}
