-- Versions of an agent.
local PUMPED = 100

-- Makes a definition, which the caller has counted, the newest version, and its limits those in force; versions beyond what is kept go. Returns its number.
local function agent_store(ws, name, latest, digest, max_versions)
  local key = k.agent(ws, name)
  local version = tonumber(latest or '0') + 1
  redis.call('HSET', key, 'latest', version, 'head', version .. ' ' .. digest .. def_plain(digest), 'v' .. version, digest, 'u' .. version, fmt(now_ms))
  local old = version - max_versions
  if old > 0 then
    local gone = redis.call('HGET', key, 'v' .. old)
    if gone then
      redis.call('HDEL', key, 'v' .. old, 'u' .. old)
      def_unref(gone)
    end
  end
  -- In force at once, also for what waits. A definition always has both fields, empty where it says nothing.
  local limits = redis.call('HMGET', k.def(digest), 'concurrency', 'rate')
  for i, gate in ipairs({'a:' .. name, 'ra:' .. name}) do
    if limits[i] and limits[i] ~= '' then
      redis.call('HSET', k.limits(ws), gate, limits[i])
    elseif limits[i] then
      redis.call('HDEL', k.limits(ws), gate)
    end
    if limits[i] and gate_pump(ws, gate, PUMPED) then
      throttle(ws, gate, now_ms) -- promote goes on
    end
  end
  return version
end
