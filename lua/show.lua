-- show: a run's record with its live counters, and where a reader at `after` begins to read.
-- READONLY
-- INCLUDE keys later run stream
-- ARGV
--   ws          str
--   run         str
--   after       int   last seq the reader has; -1 for none
--   whole       int   1: with its input and environment, wherever they are
-- REPLY
--   record      flat  the run hash
--   last_seq    int
--   last_t_ms   int
--   event_count int
--   event_bytes int
--   start       str   exclusive stream id to read after
-- ERRORS run_not_found

local record, r = run_read(run, {'input', 'env', 'maxAttempts', 'attempt', 'tail', 'made', 'queue'})
if r.ws ~= ws then
  return {'run_not_found'}
end
local now = TERMINAL[r.status] and tail_read(r.tail) or tail(run)

-- Behind which entry a reader that has `after` goes on: in the last attempt whose first seq is at or below after + 1.
local start = '0-0'
if after >= 0 then
  local n = tonumber(r.attempt)
  for i = n, math.max(1, n - KEPT_ATTEMPTS + 1), -1 do
    local epoch, first = attempt_claim(r['a' .. i])
    if epoch > 0 and first <= after + 1 then
      start = fmt(epoch) .. '-' .. fmt(after)
      break
    end
  end
end
-- The record says what it takes from its definition, and has its input, wherever that is.
if whole == 0 then
  r.input, r.env = '-', '-' -- nobody asked
end
run_complete(r, record)
return {'ok', record, now.last, now.t, now.c, now.z, start}
