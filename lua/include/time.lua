-- Redis' own clock, which alone decides: leases, due times, epochs.
local now_us, now_ms
-- EACH CALL
local time = redis.call('TIME')
now_us = time[1] * 1000000 + time[2]
now_ms = math.floor(now_us / 1000)

-- EACH FURTHER
now_us = now_us + 1
now_ms = math.floor(now_us / 1000)
