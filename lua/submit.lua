-- submit: accepts a run, or answers an Idempotency-Key's first run again. The run is then `queued` (in its lane, with a bell, or in the line of a gate that has no room) or `scheduled` (in the delayed set, or waiting for runs it depends on).
-- GUARD
-- GROUP
-- INCLUDE keys time later run lane gate def stream hook close stop replace narrow submit
-- ARGV
--   run          str   new run id
--   ws           str   workspace
--   agent        str   agent name; for an inline definition its "name" or ''
--   queue_max    int   runs of a workspace that may wait, those that wait for their time included
--   rid          str   Redis server's run id as the caller's connection sees it: a claim that a crashed Redis forgot leaves a gap too
--   fields       list  field, value, … kept in the run hash as they are: input, env, labels, createdBy, sessionId, traceparent, rerunOf, hook (a webhook's id, or `runs` with its own), hookUrl, hookSecret
--   queue        str?  '' means the definition's
--   priority     str?  high, normal ('' too) or low
--   idem_key     str?  Idempotency-Key
--   idem_digest  str?  digest of what was asked
--   def_digest   str?  digest of an inline definition; '' means: the named agent's latest version
--   version      str?  of the agent, where def_digest is a named agent's (a rerun)
--   schema_checked str?  digest of the definition whose inputSchema the input was checked against: a definition that has one and is another is not submitted to
--   delay_ms     int?
--   scheduled_ms int?  absolute due time
--   timeout_ms   int?  0 means the definition's
--   max_attempts int?  0 means the definition's
--   start_within_ms int?  0 means the definition's
--   stall_ms     int?  0 means the definition's
--   parent       str?  parent run id
--   on_limit     str?  what happens when the first gate has no room: queue ('' too), reject or replace
--   on_dep_fail  str?  what happens when a dependency does not succeed: fail ('' too) or run
--   retention_ms int?  of a run that may end at once: one that has dependencies, or replaces others
--   agents_in    str?  what a narrowed key may name: comma list of agents, '' for all
--   queues_in    str?  and of queues
--   def_fields   list? field, value, … of an inline definition's def hash (json, and what include/def.lua names DEF_FIELDS); empty when named
--   gates        list? `k:KEY=LIMIT` first, `c:ID=LIMIT` (the API key's), `rk:KEY=LIMIT/PERMS/BURST`: the run's own
--   depends      list? run ids
--   requires     list? tags, besides the definition's
--   redrive      str?  the dead letter that this run is the new try of: it is none from here on
-- REPLY
--   run          str   the run's id (the first one's when replayed)
--   status       str   as first answered
--   replayed     int   1 when the Idempotency-Key was known
--   def          str   with schema_unchecked: the definition's digest
--   schema       str   and its inputSchema
-- ERRORS schema_unchecked agent_not_found bundle_not_found run_not_found parent_stopped idempotency_mismatch queue_full queue_draining quota_exceeded limit_exceeded concurrency_limit dependency_not_found dependency_cycle not_dead_letter forbidden webhook_not_found

local own_hook, again
for i = 1, #fields, 2 do
  own_hook = fields[i] == 'hook' and fields[i + 1] or own_hook
  again = again or fields[i] == 'rerunOf' or fields[i] == 'hookUrl' -- its source's webhook may be gone by now; it brings its own along
end
if own_hook and not again and redis.call('EXISTS', k.hook(ws, own_hook)) == 0 then
  return {'webhook_not_found'}
end
return run_submit({run = run, ws = ws, idem_key = idem_key, idem_digest = idem_digest, agent = agent, def_digest = def_digest, version = version, queue = queue, priority = priority == '' and 'normal' or priority,
  delay_ms = delay_ms, scheduled_ms = scheduled_ms, timeout_ms = timeout_ms, max_attempts = max_attempts, start_within_ms = start_within_ms, stall_ms = stall_ms, parent = parent,
  on_limit = on_limit, on_dep_fail = on_dep_fail, queue_max = queue_max, rid = rid, retention_ms = retention_ms, def_fields = def_fields, fields = fields, gates = gates, depends = depends,
  requires = requires, redrive = redrive, agents_in = agents_in, queues_in = queues_in, schema_checked = schema_checked})
