-- logs: replaces an attempt's log tail, if the attempt still holds the run.
-- INCLUDE keys later run
-- ARGV
--   run    str
--   epoch  int
--   lines  str   JSON array of {tMs, stream, text}, at most LIMIT_LOG_BYTES (and its quoting)
-- REPLY
-- ERRORS fenced

local r = run_get(run, {'epoch'})
if not r or tonumber(r.epoch) ~= epoch then
  return {'fenced'}
end
redis.call('SET', k.logs(run), lines)
return {'ok'}
