#!lua flags=allow-oom
-- handle: stores what a provisioned attempt is known by outside (pid, container id, …), or its newest resource statistics, in the run's record.
-- INCLUDE keys later run
-- ARGV
--   run     str
--   epoch   int
--   handle  str   JSON object, '' leaves it
--   stats   str   JSON object, '' leaves it
-- REPLY
-- ERRORS fenced

local r = run_get(run, {'epoch', 'attempt'})
-- The epoch alone does not tell: it stays the run's until the next claim, also after the attempt was taken back.
if not r or tonumber(r.epoch) ~= epoch or TERMINAL[r.status] or redis.call('HEXISTS', k.run(run), af(r.attempt, 'end')) == 1 then
  return {'fenced'}
end
if handle ~= '' then
  redis.call('HSET', k.run(run), af(r.attempt, 'handle'), handle)
end
if stats ~= '' then
  redis.call('HSET', k.run(run), af(r.attempt, 'stats'), stats)
end
return {'ok'}
