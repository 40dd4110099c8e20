-- append: the API ingress' batch of a `remote` attempt. Checks in the contract's order; stores all or nothing; a runtime_terminal is kept as the claim, not stored.
-- INCLUDE keys time later run stream
-- ARGV
--   run          str
--   attempt      int   the token's attempt
--   token_sha    str   SHA-256 (hex) of the token
--   first        int   first seq of the batch, a claim included
--   last         int   last seq of the batch, a claim included
--   first_t      int
--   last_t       int
--   entries      table(first int, last int, t int, n int, bytes int, b str)   the batch without its claim, cut to stream entries
--   claim_line   str   canonical line of the runtime_terminal, '' for none
--   claim_seq    int
--   claim_t      int
--   claim_status str   success, error or stopped
--   claim_result str   raw JSON or ''
--   claim_error  str   raw JSON {"class","message"} or ''
--   claim_retry  str   as finish's retry
--   claim_warnings str  raw JSON: what of the result does not meet the definition's outputSchema, '' for none
--   schema_checked str  digest of the definition whose outputSchema the claim's result was checked against, '' for none
--   events_max   int
--   bytes_max    int
--   asks         int   1: an event of it asks for input
-- REPLY
--   accepted     int   events accepted by this call
--   duplicate    int
--   next_seq     int
--   last_t_ms    int
--   stop         int
--   def          str   with schema_unchecked: the definition's digest
--   schema       str   and its outputSchema
--   strict       int   and whether what does not meet it is an error
-- ERRORS schema_unchecked run_not_found fenced wrong_source run_terminal seq_conflict t_ms_not_monotonic

local SEQ_JUMP, AHEAD_MS = 4294967296, 86400000
local r = run_get(run, {'ws', 'def', 'epoch', 'inc', 'attempt', 'source', 'stopAt', 'inputLast', 'claimLine', 'claimSeq', 'claimT', 'made', 'rid',
  af(attempt, 'tok'), af(attempt, 'end'), 'a' .. attempt})
if not r then
  return {'run_not_found'}
end
if r[af(attempt, 'tok')] == '' or r[af(attempt, 'tok')] ~= token_sha then
  return {'run_not_found'} -- not yours and not there look the same
end
local before = tail(run)
local _, attempt_first = attempt_claim(r['a' .. attempt])
local next_seq = math.max(before.last + 1, attempt_first)
local last_stored_t = before.t
if r.claimLine ~= '' and not TERMINAL[r.status] then
  next_seq = math.max(next_seq, tonumber(r.claimSeq) + 1)
  last_stored_t = math.max(last_stored_t, tonumber(r.claimT))
end
local function answer(code, accepted, duplicate)
  return {code, accepted, duplicate, next_seq, last_stored_t, r.stopAt ~= '' and 1 or 0, '', '', 0}
end

local ended = TERMINAL[r.status] or false
if attempt ~= tonumber(r.attempt) or (r[af(attempt, 'end')] ~= '' and not ended) then
  return answer('fenced', 0, 0)
end
if r.source ~= 'remote' then
  return answer('wrong_source', 0, 0)
end

-- Whether each line of the batch is stored already; lines in between, and other cuts into entries, do not matter. At most one look a line, mostly one an entry.
local function stored_already()
  if claim_line ~= '' and claim_line ~= r.claimLine then
    return false
  end
  if #entries == 0 then
    return claim_line ~= ''
  end
  local stored, last_read = {}, -1 -- the lines of the stored entry that was read last, and its last seq
  for _, entry in ipairs(entries) do
    for line in string.gmatch(entry.b, '[^\n]+') do
      local seq = tonumber(string.match(line, '^{"seq":(%d+)'))
      if seq > last_read then
        local found = redis.call('XRANGE', k.events(run), r.epoch .. '-' .. fmt(seq), r.epoch .. '-' .. SEQ_CLOSED, 'COUNT', 1)
        if not found[1] then
          return false
        end
        stored, last_read = {}, tail_read(found[1][2][2]).last
        for one in string.gmatch(found[1][2][4], '[^\n]+') do
          stored[one] = true
        end
      end
      if not stored[line] then
        return false
      end
    end
  end
  return true
end
if (first < next_seq or claim_line ~= '') and stored_already() then
  return answer('ok', 0, 1)
end
if ended or r.claimLine ~= '' then
  return answer('run_terminal', 0, 0)
end
if first < next_seq or last > next_seq - 1 + SEQ_JUMP then
  return answer('seq_conflict', 0, 0)
end
if first_t < last_stored_t or last_t > now_ms + AHEAD_MS then
  return answer('t_ms_not_monotonic', 0, 0)
end

-- What is claimed is what counts, also for a reaper: so its result is checked before it is kept. Lua can't: the caller asks again.
if claim_status == 'success' then
  local schema = redis.call('HMGET', k.def(r.def), 'outputSchema', 'strictOutput')
  if schema[1] and schema_checked ~= r.def then
    local reply = answer('schema_unchecked', 0, 0)
    reply[7], reply[8], reply[9] = r.def, schema[1], schema[2] and 1 or 0
    return reply
  end
end

local c, z, accepted = before.c, before.z, 0
for _, entry in ipairs(entries) do
  c = c + entry.n
  z = z + entry.bytes
  accepted = accepted + entry.n
end
if c > events_max or z > bytes_max then
  -- The attempt ends here, with the reason as its claim; the runner stops the runtime.
  redis.call('HSET', k.run(run), 'claimLine', '-', 'claimSeq', fmt(next_seq), 'claimT', fmt(math.max(now_ms, last_stored_t)), 'claimStatus', 'error', 'extra', '1', 'claimResult', '',
    'claimError', '{"class":"event_limit","message":"the run has more events, or more bytes of events, than it may"}')
  redis.call('PUBLISH', k.ctl(r.inc), 'claimed ' .. run)
  return answer('run_terminal', 0, 0)
end
c, z = before.c, before.z
for _, entry in ipairs(entries) do
  c = c + entry.n
  z = z + entry.bytes
  local last_seq = fmt(entry.last)
  redis.call('XADD', k.events(run), 'NOMKSTREAM', r.epoch .. '-' .. last_seq, 'h', table.concat({fmt(entry.first), last_seq, fmt(entry.t), fmt(entry.n), fmt(c), fmt(z)}, ','), 'b', entry.b)
end
if asks == 1 then
  redis.call('HSET', k.run(run), 'extra', '1', 'asked', r.inputLast == '' and '0' or r.inputLast)
end
if #entries > 0 then
  wake(run)
end
if claim_line ~= '' then
  accepted = accepted + 1
  redis.call('HSET', k.run(run), 'claimLine', claim_line, 'claimSeq', fmt(claim_seq), 'claimT', fmt(claim_t), 'claimStatus', claim_status, 'claimResult', claim_result, 'claimError', claim_error, 'claimRetry', claim_retry,
    'claimWarnings', claim_warnings, 'extra', '1')
  redis.call('PUBLISH', k.ctl(r.inc), 'claimed ' .. run)
end
next_seq, last_stored_t = last + 1, last_t
return answer('ok', accepted, 0)
