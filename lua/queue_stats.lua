-- queue_stats: for queues by name, since when the oldest run waits that could be claimed, and what ended in the last minutes. Bounded work: it may answer for fewer queues than asked, from the first on; ask again for the rest.
-- READONLY
-- INCLUDE keys time
-- ARGV
--   names   list
--   minutes int   full minutes looked back, beside the present one
-- REPLY
--   stats   table(oldest_ms int, success int, error int, stopped int, ms int)   oldest_ms: 0 when none waits; ms: sum of the durations of runs that ended
--   now_ms  int
-- ERRORS

local LANES, LOOKS = 200, 500
local looks = 0
local reqs = {'-'} -- the plain one; there are few others
for _, req in ipairs(redis.call('HKEYS', k.reqs)) do
  if req ~= '#' then
    reqs[#reqs + 1] = req
  end
end

-- The time of a lane's head, or the given one when that is older. Entry ids are times.
local function older(oldest, key)
  looks = looks + 1
  local head = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  local ms = head and tonumber(string.match(head[1], '^%d+')) or 0
  return ms > 0 and (oldest == 0 or ms < oldest) and ms or oldest
end

local function oldest_of(queue)
  local oldest, left = 0, LANES
  for _, req in ipairs(reqs) do
    looks = looks + 1
    for _, member in ipairs(redis.call('ZRANGE', k.lanes(queue, req), 0, left - 1)) do
      local ws = string.match(member, '^!(.*)$')
      for _, prio in ipairs(ws and {'again'} or redis.call('ZRANGE', k.prios(queue, req, member), 0, -1)) do
        oldest = older(oldest, k.lane(queue, req, ws or member, prio))
        left = left - 1
      end
      if left <= 0 then
        return oldest
      end
    end
  end
  return oldest
end

local minute = math.floor(now_ms / 60000)
local stats = {}
for i, queue in ipairs(names) do
  if i > 1 and looks >= LOOKS then
    break
  end
  local row = {redis.call('HEXISTS', k.queued, queue) == 1 and oldest_of(queue) or 0, 0, 0, 0, 0}
  for at = minute - minutes, minute do
    for column, value in ipairs(redis.call('HMGET', k.tput(queue, fmt(at)), 'success', 'error', 'stopped')) do
      if value then -- runs times 10^12, and milliseconds: more than a number of Lua's holds
        row[column + 1] = row[column + 1] + string.sub(value, 1, -13)
        row[5] = row[5] + string.sub(value, -12)
      end
    end
  end
  for column = 1, 5 do
    row[column] = fmt(row[column])
  end
  stats[i] = row
end
return {'ok', stats, now_ms}
