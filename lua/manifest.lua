-- manifest: what a remote runtime needs to do its job, for a runner token.
-- READONLY
-- INCLUDE keys later run stream deps
-- ARGV
--   run        str
--   attempt    int
--   token_sha  str
-- REPLY
--   record     flat
--   def        str
--   next_seq   int
--   last_t_ms  int
--   stop       int
--   dependencies str  JSON array, '' when it has none
-- ERRORS run_not_found fenced

local r = run_get(run, {'attempt', 'def', 'input', 'env', 'maxAttempts', 'timeoutMs', 'deps', 'stopAt', 'claimSeq', 'claimT', af(attempt, 'tok'), af(attempt, 'end'), 'a' .. attempt})
if not r then
  return {'run_not_found'}
end
if r[af(attempt, 'tok')] == '' or r[af(attempt, 'tok')] ~= token_sha then
  return {'run_not_found'} -- not yours and not there look the same
end
if attempt ~= tonumber(r.attempt) or r[af(attempt, 'end')] ~= '' then
  return {'fenced'}
end
local record = redis.call('HGETALL', k.run(run))
run_complete(r, record)
if r.timeoutMs == '' then
  record[#record + 1] = 'timeoutMs'
  record[#record + 1] = redis.call('HGET', k.def(r.def), 'timeoutMs')
end
local now = tail(run)
local _, first = attempt_claim(r['a' .. attempt])
local next_seq, last_t = math.max(now.last + 1, first), now.t
if r.claimSeq ~= '' then
  next_seq, last_t = tonumber(r.claimSeq) + 1, tonumber(r.claimT)
end
return {'ok', record, redis.call('HGET', k.def(r.def), 'json') or '', next_seq, last_t, r.stopAt ~= '' and 1 or 0,
  r.deps ~= '' and dependencies_of(r.deps) or ''}
