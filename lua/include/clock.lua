-- Redis' own clock, as in include/time, for scripts that mostly do without: whoever needs it asks for it first.
local now_us, now_ms
local now_said
local function clock()
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
  now_ms = math.floor(now_us / 1000)
end

local function now_text()
  now_said = now_said or fmt(now_ms)
  return now_said
end

-- EACH CALL
now_us, now_ms, now_said = nil, nil, nil

-- EACH FURTHER
now_us, now_ms, now_said = nil, nil, nil
