#!lua flags=allow-oom
-- input_asked: an attempt's agent asked for input when it had been given the lines up to `given`. The run shows that it waits until it has more.
-- INCLUDE keys later run
-- ARGV
--   run    str
--   epoch  int
--   given  int
-- REPLY
-- ERRORS fenced

local r = run_get(run, {'epoch', 'attempt'})
if not r or tonumber(r.epoch) ~= epoch or TERMINAL[r.status] or redis.call('HEXISTS', k.run(run), af(r.attempt, 'end')) == 1 then
  return {'fenced'}
end
redis.call('HSET', k.run(run), 'asked', fmt(given), 'extra', '1')
return {'ok'}
