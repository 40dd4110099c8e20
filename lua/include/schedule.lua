-- Schedules: a hash with what was asked (as it is shown), the template of its runs (submit's arguments by name), and what became of it. `ticks` holds the next tick of each that is not paused and has not ended.
local SCHEDULE_SHOWN = {'cron', 'everyMs', 'timeZone', 'jitterMs', 'startMs', 'endMs', 'overlap', 'catchUp', 'paused', 'created', 'updated', 'next', 'last', 'lastRun', 'runs', 'skipped', 'lastError'}

-- The fields of a schedule that it has, as field, value, …
local function schedule_shown(key, ...)
  local names = {unpack(SCHEDULE_SHOWN)}
  for _, name in ipairs({...}) do
    names[#names + 1] = name
  end
  local flat = {}
  for i, value in ipairs(redis.call('HMGET', key, unpack(names))) do
    if value then
      flat[#flat + 1] = names[i]
      flat[#flat + 1] = value
    end
  end
  return flat
end

-- Sets the next tick (0: none). tell: says so to all nodes where it is the first of all.
local function schedule_next(ws, name, at, tell)
  local key, member = k.schedule(ws, name), ws .. ':' .. name
  if at <= 0 then
    redis.call('HDEL', key, 'next')
    redis.call('ZREM', k.ticks, member)
    return
  end
  redis.call('HSET', key, 'next', fmt(at))
  redis.call('ZADD', k.ticks, fmt(at), member)
  if tell and redis.call('ZRANGE', k.ticks, 0, 0)[1] == member then
    redis.call('PUBLISH', k.due, fmt(at))
  end
end

-- Some fields of a schedule as a table, missing ones as ''; nil when there is no such schedule.
local function schedule_read(ws, name, fields)
  local values = redis.call('HMGET', k.schedule(ws, name), 'version', unpack(fields))
  if not values[1] then
    return nil
  end
  local s = {version = values[1]}
  for i, field in ipairs(fields) do
    s[field] = values[i + 1] or ''
  end
  return s
end
