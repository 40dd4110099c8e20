-- input: takes one line for the standard input of a run that has not ended, and tells its runner. Lines have ascending numbers and are kept until the run ends: another attempt gets all of them again, in the same order.
-- INCLUDE keys time later run
-- ARGV
--   ws        str
--   run       str
--   line      str   raw JSON on one line, '' for none
--   last      int   1: end of file follows
--   idem      str   Idempotency-Key, '' for none
--   digest    str   of the body, with idem
--   max_lines int
--   max_bytes int   of all lines together
-- REPLY
--   n         int   the line's number (that of the last line, where only the end of file was asked for)
--   duplicate int   1: it was taken before
--   status    str   the run's
-- ERRORS run_not_found run_terminal input_closed limit_exceeded idempotency_mismatch

local LOOKED = 1000 -- newest lines among which an Idempotency-Key is looked for
local r = run_get(run, {'ws', 'def', 'inc', 'inputs', 'inputLast', 'inputBytes', 'inputEnd'})
if not r or r.ws ~= ws then
  return {'run_not_found'}
end
local key = k.stdin(run)
if idem ~= '' then
  for _, entry in ipairs(redis.call('XREVRANGE', key, '+', '-', 'COUNT', LOOKED)) do
    if entry[2][6] == idem then
      if entry[2][8] ~= digest then
        return {'idempotency_mismatch'}
      end
      return {'ok', tonumber(string.match(entry[1], '^%d+')), 1, r.status}
    end
  end
end
if TERMINAL[r.status] then
  return {'run_terminal'}
end
if redis.call('HGET', k.def(r.def), 'stdin') ~= 'open' or r.inputEnd ~= '' then
  return {'input_closed'}
end
local count, bytes = (tonumber(r.inputs) or 0) + 1, (tonumber(r.inputBytes) or 0) + #line
if count > max_lines or bytes > max_bytes then
  return {'limit_exceeded'}
end
-- A time, so that no line is taken for one that a Redis which crashed has lost, but which was given to the agent.
local n = math.max((tonumber(r.inputLast) or 0) + 1, now_ms)
redis.call('XADD', key, fmt(n) .. '-1', 'l', line, 'e', last, 'k', idem, 'd', digest)
redis.call('HSET', k.run(run), 'inputs', fmt(count), 'inputLast', fmt(n), 'inputBytes', fmt(bytes), 'extra', '1')
if last == 1 then
  redis.call('HSET', k.run(run), 'inputEnd', '1')
end
if r.inc ~= '' then
  redis.call('PUBLISH', k.ctl(r.inc), 'input ' .. run)
end
return {'ok', n, 0, r.status}
