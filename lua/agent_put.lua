-- agent_put: stores a definition as an agent's newest version; the same definition as the newest changes nothing.
-- INCLUDE keys time run lane gate def
-- ARGV
--   ws         str
--   name       str
--   digest     str
--   def_fields list  as submit's
--   max_agents int
--   max_versions int
-- REPLY
--   version    int
--   created    int   1: the agent is new
-- ERRORS limit_exceeded

local PUMPED = 100
local key = k.agent(ws, name)
local latest = redis.call('HGET', key, 'latest')
if latest and redis.call('HGET', key, 'v' .. latest) == digest then
  return {'ok', tonumber(latest), 0}
end
if not latest and redis.call('ZCARD', k.agents(ws)) >= max_agents then
  return {'limit_exceeded'}
end
local version = tonumber(latest or '0') + 1
def_ref(digest, def_fields)
redis.call('HSET', key, 'latest', version, 'v' .. version, digest, 'u' .. version, fmt(now_ms))
if not latest then
  redis.call('HSET', key, 'created', fmt(now_ms))
  redis.call('ZADD', k.agents(ws), 0, name)
end
local old = version - max_versions
if old > 0 then
  local gone = redis.call('HGET', key, 'v' .. old)
  if gone then
    redis.call('HDEL', key, 'v' .. old, 'u' .. old)
    def_unref(gone)
  end
end
-- Its limits are in force at once, also for what waits.
for i = 1, #def_fields, 2 do
  local gate = def_fields[i] == 'concurrency' and 'a:' .. name or def_fields[i] == 'rate' and 'ra:' .. name
  if gate and def_fields[i + 1] ~= '' then
    redis.call('HSET', k.limits(ws), gate, def_fields[i + 1])
  elseif gate then
    redis.call('HDEL', k.limits(ws), gate)
  end
  if gate and gate_pump(ws, gate, PUMPED) then
    throttle(ws, gate, now_ms) -- promote goes on
  end
end
return {'ok', version, latest and 0 or 1}
