#!lua flags=allow-oom
-- promote: moves delayed runs that are due to their lanes, `scheduled` → `queued`. Any node, at any time.
-- INCLUDE keys time run lane
-- ARGV
--   max       int  most runs to move
-- REPLY
--   promoted  int
--   next_ms   int  milliseconds until the next one is due; 0: more are due now; -1: none waits
-- ERRORS

local due = redis.call('ZRANGEBYSCORE', k.delayed, '-inf', now_ms, 'LIMIT', 0, max)
for _, id in ipairs(due) do
  local run = run_get(id, {'ws', 'queue', 'req', 'priority'})
  if run and run.status == 'scheduled' then
    delay_remove(run)
    run_move(run, 'queued')
    lane_add(run, run.priority)
  else
    redis.call('ZREM', k.delayed, id)
  end
end
local first = redis.call('ZRANGE', k.delayed, 0, 0, 'WITHSCORES')
local next_ms = first[2] and math.max(0, tonumber(first[2]) - now_ms) or -1
return {'ok', #due, next_ms}
