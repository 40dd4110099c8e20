#!lua flags=allow-oom
-- finish: ends an attempt whose processes are gone: to `success`, `error`, `stopped`, or back for a retry. Closes the epoch with its closing or terminal event. Idempotent: the runner repeats it until it is answered.
-- A stored stop overrides a success; a stored claim (remote) decides status, result and error where the caller's outcome is not worse.
-- GROUP
-- INCLUDE keys time later run lane gate stream hook close
-- ARGV
--   inc         str
--   run         str
--   epoch       num
--   attempt     num
--   outcome     str   success, error or stopped: what the executor saw
--   exit_code   str   decimal or ''
--   seq         num   the closing event's seq (stdout source); 0: the script takes the next one
--   t_ms        num   of the closing event; at or behind the last one's
--   count       int   events that this runner knows to be stored, seq being behind the last of them; 0: the script looks
--   bytes       int   and their bytes
--   rid         str
--   retention_ms int
--   error_json  str?  raw JSON {"class","message"}, of an error
--   result      str?  raw JSON
--   truncated   int?  1: the result was over its limit
--   warnings    str?  raw JSON: what of the result does not meet the definition's outputSchema
--   retry       str?  what the agent asked for in its error: `no` (do not retry), a delay in ms, or '' (the definition's policy)
-- REPLY
--   status      str   the run's status now
--   closed      int   1: this call closed it; 0: it had been closed by an earlier call of the same attempt
-- ERRORS fenced

local r = run_active(run)
if not r then
  return {'fenced'}
end
-- A run that executes under this attempt has not been closed: who closes an attempt takes its run out of these statuses.
if CLASS[r.status] ~= 'active' or r.attempt ~= attempt or r.epoch ~= epoch or r.inc ~= inc then
  local mine = redis.call('HMGET', k.run(run), 'a' .. attempt, af(attempt, 'end'))
  if attempt_claim(mine[1]) == tonumber(epoch) and attempt_closer(mine[2]) == 'finish' then
    return {'ok', r.status, 0}
  end
  return {'fenced'}
end
local state = known(k.runner(inc), 'state')[1]
if not state or state == 'dead' then
  return {'fenced'}
end
local o = {status = outcome, error = error_json, result = result, truncated = truncated, warnings = warnings, seq = seq + 0, t = t_ms + 0, seq_text = seq, t_text = t_ms, count = count, bytes = bytes, retry = retry}
attempt_end(r, o, 'finish', exit_code, rid, retention_ms)
return {'ok', r.status, 1}
