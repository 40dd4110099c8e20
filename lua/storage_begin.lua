#!lua flags=allow-oom
-- storage_begin: an attempt is about to get a Redis user of its own. Noted before the user is made, so that whatever happens somebody removes it.
-- INCLUDE keys time later run
-- ARGV
--   inc      str
--   run      str
--   epoch    int
--   attempt  int
-- REPLY
-- ERRORS fenced

local r = run_get(run, {'epoch', 'inc'})
if not r or r.inc ~= inc or tonumber(r.epoch) ~= epoch or TERMINAL[r.status] or redis.call('ZSCORE', k.held(inc), run) == false then
  return {'fenced'}
end
redis.call('ZADD', k.storageusers, fmt(now_ms), run .. ' ' .. fmt(attempt))
return {'ok'}
