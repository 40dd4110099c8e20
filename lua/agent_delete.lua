#!lua flags=allow-oom
-- agent_delete: forgets an agent; its runs keep the definition they were submitted with.
-- INCLUDE keys time later run lane gate def
-- ARGV
--   ws    str
--   name  str
-- REPLY
-- ERRORS agent_not_found

local key = k.agent(ws, name)
local fields = redis.call('HGETALL', key)
if #fields == 0 then
  return {'agent_not_found'}
end
for i = 1, #fields, 2 do
  if string.match(fields[i], '^v%d+$') then
    def_unref(fields[i + 1])
  end
end
redis.call('DEL', key)
redis.call('ZREM', k.agents(ws), name)
redis.call('HDEL', k.limits(ws), 'a:' .. name, 'ra:' .. name)
for _, gate in ipairs({'a:' .. name, 'ra:' .. name}) do
  if redis.call('EXISTS', k.wait(ws, gate)) == 1 then
    throttle(ws, gate, now_ms) -- who waits goes by the number that it took along
  end
end
return {'ok'}
