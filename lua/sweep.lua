#!lua flags=allow-oom
-- sweep: removes ended runs whose retention is over.
-- INCLUDE keys time run def remove
-- ARGV
--   max    int
-- REPLY
--   swept  int
--   more   int
-- ERRORS

local due = redis.call('ZRANGEBYSCORE', k.retain, '-inf', now_ms, 'LIMIT', 0, max)
for _, id in ipairs(due) do
  local r = run_get(id, REMOVE_FIELDS)
  if r then
    run_remove(r)
  else
    redis.call('ZREM', k.retain, id)
  end
end
return {'ok', #due, #due == max and 1 or 0}
