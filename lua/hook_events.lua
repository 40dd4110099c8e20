#!lua flags=allow-oom
-- hook_events: what was found in a run's events becomes deliveries, and the position moves on, in one step: so two nodes that look through the same run tell each event once.
-- INCLUDE keys time later run hook
-- ARGV
--   run     str
--   from    str   the position that was read from, `EPOCH-SEQ`
--   to      str   where it ends
--   ended   int   1: nothing more comes
--   more    int   1: there is more to read at once
--   events  table(kind str, epoch str, seq int)
-- REPLY
--   told    int
-- ERRORS

local r = run_get(run, {'ws', 'agent', 'follow'})
if not r or r.follow ~= from then
  return {'ok', 0}
end
local hooks, told = redis.call('HGETALL', k.hooks(r.ws)), 0
for _, event in ipairs(events) do
  local kind = 'event.' .. event.kind
  for i = 1, #hooks, 2 do
    if hooks[i] ~= '*' and hook_wants(hooks[i + 1], kind, r.agent) and
      hook_deliver(r.ws, hooks[i], run .. '-' .. fmt(event.seq), kind, told, {'run', run, 'agent', r.agent, 'epoch', event.epoch, 'seq', fmt(event.seq)}) then
      told = told + 1
    end
  end
end
if ended == 1 then
  redis.call('ZREM', k.follow, run)
  redis.call('HDEL', k.run(run), 'follow')
else
  redis.call('HSET', k.run(run), 'follow', to)
  if more == 1 then
    redis.call('ZADD', k.follow, fmt(now_ms), run)
  end
end
if told > 0 then
  redis.call('PUBLISH', k.hookw, '')
end
return {'ok', told}
