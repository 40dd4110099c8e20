-- adoptable: what earlier incarnations of a runner of this name execute, where they let a successor take it over (adopts).
-- READONLY
-- INCLUDE keys later run
-- ARGV
--   name   str
--   inc    str   the successor's own
--   looks  int   incarnations that are looked at
--   max    int   most runs of each
-- REPLY
--   runs   table(run str, epoch int, attempt int, executor str, handle str, inc str, proc str)   proc: the process of that incarnation, `PID START NAMESPACE BOOT`
-- ERRORS

local runs = {}
for _, other in ipairs(redis.call('ZRANGE', k.leases, 0, looks - 1)) do
  local r = redis.call('HMGET', k.runner(other), 'name', 'adopts', 'proc')
  if other ~= inc and r[1] == name and r[2] == '1' then
    local held = redis.call('ZRANGE', k.held(other), 0, max - 1, 'WITHSCORES')
    for i = 1, #held, 2 do
      local run = run_get(held[i], {'attempt', 'executor'})
      if run then
        runs[#runs + 1] = {held[i], tonumber(held[i + 1]), tonumber(run.attempt), run.executor, redis.call('HGET', k.run(held[i]), af(run.attempt, 'handle')) or '', other, r[3] or ''}
      end
    end
  end
end
return {'ok', runs}
