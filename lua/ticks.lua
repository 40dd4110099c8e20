-- ticks: the schedules whose next tick has come, and what it takes to work out the one that follows.
-- READONLY
-- INCLUDE keys time
-- ARGV
--   max       int  most of them
-- REPLY
--   due       table(ws str, name str, version str, tick_ms int, cron str, zone str, every_ms int, anchor_ms int, start_ms int, end_ms int, catch_up str, until_ms int)
--   now_ms    int  Redis time
--   next_ms   int  milliseconds until the next tick of those that are not due; -1: none has one
-- ERRORS

local due = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', k.ticks, '-inf', now_ms, 'LIMIT', 0, max)) do
  local ws, name = string.match(member, '^([^:]*):(.*)$')
  local s = redis.call('HMGET', k.schedule(ws, name), 'version', 'next', 'cron', 'timeZone', 'everyMs', 'startMs', 'created', 'endMs', 'catchUp', 'until')
  if s[1] and s[2] then
    due[#due + 1] = {ws, name, s[1], s[2], s[3] or '', s[4], s[5] or 0, s[6] or s[7], s[6] or 0, s[8] or 0, s[9], s[10] or 0}
  end
end
local later = redis.call('ZRANGEBYSCORE', k.ticks, '(' .. fmt(now_ms), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
return {'ok', due, now_ms, later[2] and tonumber(later[2]) - now_ms or -1}
