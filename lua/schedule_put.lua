-- schedule_put: stores a schedule, a new one or in the place of one, with the template of its runs and its first tick. What it counted so far stays.
-- INCLUDE keys time def schedule
-- ARGV
--   ws           str
--   name         str
--   seen         str   version that the first tick was worked out from, '' for none there
--   create       int   1: it must be new
--   cron         str   '' where every_ms is given
--   every_ms     int   0 where cron is given
--   zone         str
--   jitter_ms    int
--   start_ms     int   0 for none
--   end_ms       int   0 for none
--   overlap      str   skip, queue, replace or allow
--   catch_up     str   skip, last or all
--   paused       int   1, 0, or -1: as it is
--   created_ms   int   of a new one: the Redis time that its ticks are counted from
--   first_ms     int   its first tick, 0 for none
--   run_json     str   the template as it was sent
--   agent        str   from here on as submit's
--   def_digest   str
--   queue        str
--   priority     str
--   timeout_ms   int
--   max_attempts int
--   start_within_ms int
--   stall_ms     int
--   on_limit     str
--   queue_max    int
--   retention_ms int
--   schema_checked str  as submit's
--   max_schedules int
--   def_fields   list
--   fields       list
--   gates        list
--   requires     list
-- REPLY
--   created      int   1: it is new
--   fields       flat  as schedule_get's
--   def          str   with schema_unchecked: as submit's
--   schema       str
-- ERRORS schema_unchecked schedule_exists schedule_changed limit_exceeded agent_not_found bundle_not_found

local key = k.schedule(ws, name)
local old = schedule_read(ws, name, {'def', 'paused'})
if old and create == 1 then
  return {'schedule_exists'}
end
if (old and old.version or '') ~= seen then
  return {'schedule_changed'}
end
if not old and redis.call('ZCARD', k.schedules(ws)) >= max_schedules then
  return {'limit_exceeded'}
end
if def_digest == '' then
  local newest = redis.call('HGET', k.agent(ws, agent), 'latest')
  if not newest then
    return {'agent_not_found'}
  end
  local digest = redis.call('HGET', k.agent(ws, agent), 'v' .. newest)
  local schema = redis.call('HGET', k.def(digest), 'inputSchema')
  if schema and schema_checked ~= digest then
    return {'schema_unchecked', 0, {}, digest, schema}
  end
end
if not def_ready(ws, def_fields) then
  return {'bundle_not_found'}
end

if #def_fields > 0 then
  def_ref(def_digest, def_fields)
end
if old and old.def ~= '' then
  def_unref(old.def)
end
local template = cmsgpack.pack({agent = agent, def_digest = def_digest, queue = queue, priority = priority, timeout_ms = timeout_ms, max_attempts = max_attempts, start_within_ms = start_within_ms,
  stall_ms = stall_ms, on_limit = on_limit, queue_max = queue_max, retention_ms = retention_ms, fields = fields, gates = gates, requires = requires})
local stays_paused = paused == 1 or (paused == -1 and old and old.paused == '1')
redis.call('HDEL', key, 'cron', 'everyMs', 'startMs', 'endMs', 'paused', 'def', 'until', 'lastError')
redis.call('HSET', key, 'version', fmt(now_us), 'timeZone', zone, 'jitterMs', fmt(jitter_ms), 'overlap', overlap, 'catchUp', catch_up, 'run', run_json, 'template', template, 'updated', fmt(now_ms))
local optional = {cron = cron, everyMs = every_ms > 0 and fmt(every_ms) or '', startMs = start_ms > 0 and fmt(start_ms) or '', endMs = end_ms > 0 and fmt(end_ms) or '',
  paused = stays_paused and '1' or '', def = #def_fields > 0 and def_digest or ''}
for field, value in pairs(optional) do
  if value ~= '' then
    redis.call('HSET', key, field, value)
  end
end
if not old then
  redis.call('HSET', key, 'created', fmt(created_ms), 'runs', '0', 'skipped', '0')
  redis.call('ZADD', k.schedules(ws), 0, name)
end
schedule_next(ws, name, stays_paused and 0 or first_ms, true)
return {'ok', old and 0 or 1, schedule_shown(key, 'run'), '', ''}
