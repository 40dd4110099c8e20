-- Redis' own clock, as in include/time, for scripts that mostly do without: whoever needs it asks for it first.
local now_us, now_ms
local function clock()
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
  now_ms = math.floor(now_us / 1000)
end
-- EACH CALL
now_us, now_ms = nil, nil

-- EACH FURTHER
now_us, now_ms = nil, nil
