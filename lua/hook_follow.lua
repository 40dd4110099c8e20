#!lua flags=allow-oom
-- hook_follow: runs whose events are to be looked through for what webhooks want: those whose turn it is. Their next turn comes a while later, or when somebody moved them on.
-- INCLUDE keys time later run hook
-- ARGV
--   max       int
--   pause_ms  int
-- REPLY
--   runs      table(run str, ws str, agent str, epoch int, seq int, ended int, kinds str)
--   next_ms   int   milliseconds until there is something to do, -1: nothing
-- ERRORS

local rows = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', k.follow, '-inf', now_ms, 'LIMIT', 0, max)) do
  local r = run_get(id, {'ws', 'agent', 'follow'})
  local kinds = r and r.follow ~= '' and redis.call('HGET', k.hooks(r.ws), '*')
  if not kinds then
    redis.call('ZREM', k.follow, id)
    if r then
      redis.call('HDEL', k.run(id), 'follow')
    end
  else
    redis.call('ZADD', k.follow, fmt(now_ms + pause_ms), id)
    local epoch, seq = string.match(r.follow, '^(%d+)-(%d+)$')
    rows[#rows + 1] = {id, r.ws, r.agent, epoch, seq, TERMINAL[r.status] and 1 or 0, kinds}
  end
end
local first = redis.call('ZRANGE', k.follow, 0, 0, 'WITHSCORES')
return {'ok', rows, first[2] and math.max(0, tonumber(first[2]) - now_ms) or -1}
