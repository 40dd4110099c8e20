-- Redis' own clock, which alone decides: leases, due times, epochs.
local now_us, now_ms
local now_said
-- The time in ms as text, made once a call.
local function now_text()
  now_said = now_said or fmt(now_ms)
  return now_said
end

-- EACH CALL
now_said = nil
local time = redis.call('TIME')
now_us = time[1] * 1000000 + time[2]
now_ms = math.floor(now_us / 1000)

-- EACH FURTHER
now_said = nil
now_us = now_us + 1
now_ms = math.floor(now_us / 1000)
