-- Around a script that carries a key's rate limit (KEYS[2], and the last three arguments: limit, per ms, burst): GCRA, decided and counted in the same step as what the request asks for. What is left, and in how many ms
-- the whole burst is there again (or, refused, when one is), stand behind the reply's own fields.
if not KEYS[2] then
  return main(KEYS, ARGV)
end
local limit, per_ms, burst = tonumber(ARGV[#ARGV - 2]), tonumber(ARGV[#ARGV - 1]), tonumber(ARGV[#ARGV])
local clock = redis.call('TIME')
local guard_us = clock[1] * 1000000 + clock[2]
local interval = per_ms * 1000 / limit
local most = burst * interval
local tat = math.min(math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), guard_us), guard_us + most)
local used = tat - guard_us + interval
if used > most + 0.5 then
  return {'rate_limited', 0, math.ceil((used - most) / 1000)}
end
redis.call('SET', KEYS[2], string.format('%.0f', tat + interval), 'PX', string.format('%.0f', math.ceil(used / 1000) + 1))
local reply = main(KEYS, ARGV)
reply[#reply + 1] = math.floor((most - used) / interval)
reply[#reply + 1] = math.ceil(used / 1000)
return reply
