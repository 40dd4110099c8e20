#!lua flags=allow-oom
-- adopt: a runner takes over an attempt that its predecessor, a process which is gone, left running. The attempt goes on as it is, under its epoch; nothing of the predecessor is accepted any more.
-- INCLUDE keys time later run stream deps
-- ARGV
--   inc       str
--   run       str
--   epoch     int
--   old       str   the predecessor's incarnation
--   rid       str
-- REPLY
--   ws         str
--   agent      str
--   attempt    int
--   first_seq  int
--   last_t_ms  int
--   event_count int
--   event_bytes int
--   timeout_ms int   what is left of it; at least 1
--   stall_ms   int
--   grace_ms   int
--   slots      int
--   source     str
--   def        str
--   env        str
--   at         str   how much of its output the stored events are of, `OUT ERR`; '' where that is not known
--   stop       int   1: a stop was asked for
-- ERRORS fenced incarnation_dead

local BATCH_EVENTS = 256
local me = redis.call('HMGET', k.runner(inc), 'state', 'name')
if me[1] ~= 'live' then
  return {'incarnation_dead'}
end
local r = run_get(run, {'ws', 'agent', 'def', 'epoch', 'inc', 'attempt', 'made', 'rid', 'timeoutMs', 'stallMs', 'source', 'slots', 'stopAt', 'input', 'env'})
local n = r and r.attempt
if not r or r.inc ~= old or tonumber(r.epoch) ~= epoch or TERMINAL[r.status] or redis.call('HEXISTS', k.run(run), af(n, 'tok')) == 0 or
  redis.call('HEXISTS', k.run(run), af(n, 'end')) == 1 or tonumber(redis.call('ZSCORE', k.held(old), run) or '-1') ~= epoch then
  return {'fenced'}
end
redis.call('HSET', k.runner(old), 'state', 'dead')
redis.call('ZREM', k.held(old), run)
redis.call('ZADD', k.held(inc), fmt(epoch), run)
local about = redis.call('HMGET', k.run(run), 'a' .. n, af(n, 'started'), 'started')
local _, first, claimed = attempt_claim(about[1])
redis.call('HSET', k.run(run), 'inc', inc, 'a' .. n, table.concat({fmt(epoch), fmt(first), fmt(claimed), '0', me[2] or ''}, ' '))
run_policy(r, {'json', 'timeoutMs', 'stallMs', 'graceMs'})
local before = tail(run)
local newest = redis.call('XREVRANGE', k.events(run), '+', '-', 'COUNT', 1)[1]
local at = newest and newest[2][5] == 'o' and newest[2][6] or ''
if newest and tonumber(string.match(newest[2][2], '^%d+')) == first then
  at = '0 0' -- nothing but its runtime_started
end
local first_seq = seq_after(r, before.last, rid)
if r.source ~= 'remote' and newest then
  -- What the dead process sent may still be on its way. It is one batch at most (and after a restart of Redis, which it had heard of, as far ahead as runner/outbox.c counts): its numbers are used up, so that Redis refuses it.
  first_seq = first_seq + BATCH_EVENTS + (r.rid ~= rid_short(rid) and 2 * RESTART_GAP or 0)
  redis.call('XSETID', k.events(run), fmt(epoch) .. '-' .. fmt(first_seq - 1))
end
local _, env = run_input(r)
local ran_ms = now_ms - tonumber(about[2] or about[3] or now_ms)
return {'ok', r.ws, r.agent, tonumber(n), first_seq, before.t, before.c, before.z, math.max(1, tonumber(r.timeoutMs) - ran_ms), tonumber(r.stallMs) or 0, tonumber(r.graceMs),
  tonumber(r.slots) or 1, r.source, r.json, env, at, r.stopAt ~= '' and 1 or 0}
