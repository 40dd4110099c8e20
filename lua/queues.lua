-- queues: the queues of this shard with their runs by status class and their settings: those that have runs, and those that have settings; or one by name.
-- READONLY
-- INCLUDE keys
-- ARGV
--   only     str   the one that is asked for; '' for all
--   limit    int   rows, at most
-- REPLY
--   queues   table(name str, waiting int, scheduled int, running int, paused int, draining int, max_waiting int)   max_waiting: 0 for none
--   delayed  int   runs that wait for their time
-- ERRORS

local COUNTS = {waiting = k.queued, scheduled = k.scheduled, running = k.active}
local rows, names = {}, {}
local function row_of(name)
  if not rows[name] then
    rows[name] = {}
    names[#names + 1] = name
  end
  return rows[name]
end

-- The counts of one class. Of more queues than are asked for some are taken, and their other counts are looked up.
local function take(class, key)
  if redis.call('HLEN', key) <= limit then
    local flat = redis.call('HGETALL', key)
    for i = 1, #flat, 2 do
      row_of(flat[i])[class] = flat[i + 1]
    end
    return true
  end
  local flat = redis.call('HSCAN', key, 0, 'COUNT', limit)[2]
  for i = 1, #flat, 2 do
    row_of(flat[i])
  end
  return false
end

local whole = only == ''
local with_settings = {}
if only == '' then
  for class, key in pairs(COUNTS) do
    whole = take(class, key) and whole
  end
  for _, name in ipairs(redis.call('ZRANGE', k.queues, 0, limit - 1)) do
    row_of(name)
    with_settings[name] = true
  end
  table.sort(names)
else
  row_of(only)
  with_settings[only] = true
end
local out = {}
for i = 1, math.min(#names, limit) do
  local name = names[i]
  local row = rows[name]
  if not whole then
    for class, key in pairs(COUNTS) do
      row[class] = redis.call('HGET', key, name)
    end
  end
  local settings = with_settings[name] and redis.call('HMGET', k.queue(name), 'paused', 'draining', 'maxWaiting') or {}
  out[i] = {name, row.waiting or '0', row.scheduled or '0', row.running or '0', settings[1] or '0', settings[2] or '0', settings[3] or '0'}
end
return {'ok', out, redis.call('ZCARD', k.delayed)}
