#!lua flags=allow-oom
-- audit_trim: removes entries of a workspace's audit log that are over the retention, or beyond `max_entries`, oldest first, up to a seal: that seal stays, so that what is left can still be verified.
-- INCLUDE keys time audit
-- ARGV
--   ws           str
--   retention_ms int
--   max_entries  int
--   max          int   seals looked at
-- REPLY
--   trimmed      int
--   more         int
-- ERRORS

local STEP, LATER_MS = 1000, 5000
local key, seal_key = k.auditlog(ws), k.auditseal(ws)
local len = redis.call('XLEN', key)
local first = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
if not first then
  redis.call('ZREM', k.auditdue, ws)
  return {'ok', 0, 0}
end
local _, begins = audit_id(first[1])
local before, surplus = now_ms - retention_ms, len - max_entries
local cut, last
local later = before + LATER_MS -- not sealed yet
for _, seal in ipairs(redis.call('XRANGE', seal_key, '-', '+', 'COUNT', max)) do
  local ms, n = audit_id(seal[1])
  if n >= begins then
    if n - begins >= STEP or not (ms < before or n - begins < surplus) then
      later = ms + 1
      break
    end
    cut, last = seal[1], fmt(ms) .. '-' .. fmt(n + 1)
  end
end
if not cut then
  redis.call('ZADD', k.auditdue, fmt(later), ws)
  return {'ok', 0, 0}
end
redis.call('XTRIM', key, 'MINID', last)
redis.call('XTRIM', seal_key, 'MINID', cut)
local left = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
local left_len = redis.call('XLEN', key)
local more = 0
if left then
  local ms = audit_id(left[1])
  more = (ms < before or left_len > max_entries) and 1 or 0
  redis.call('ZADD', k.auditdue, left_len > max_entries and 0 or fmt(ms), ws)
else
  redis.call('ZREM', k.auditdue, ws)
end
return {'ok', len - left_len, more}
