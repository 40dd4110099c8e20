#!lua flags=allow-oom
-- audit_add: appends an entry to a workspace's audit log, and says that the log has something to be sealed. Beyond `max` entries the oldest are due to go; beyond twice that nothing is taken.
-- INCLUDE keys time audit
-- ARGV
--   ws       str
--   who      str   key id
--   from     str   client address
--   what     str   operationId
--   object   str
--   request  str   request id
--   outcome  str   error code, '' where it was allowed
--   detail   str   JSON, or ''
--   max      int
-- REPLY
--   n        int
-- ERRORS audit_full

local key = k.auditlog(ws)
local len = redis.call('XLEN', key)
if len >= 2 * max then
  return {'audit_full'}
end
local ms, n = audit_id(audit_last(key))
ms = math.max(ms, now_ms) -- a clock that was set back
redis.call('XADD', key, fmt(ms) .. '-' .. fmt(n + 1), 'who', who, 'from', from, 'what', what, 'object', object, 'request', request, 'outcome', outcome, 'detail', detail)
redis.call('SADD', k.auditopen, ws)
if len >= max then
  redis.call('ZADD', k.auditdue, 'LT', 0, ws)
else
  redis.call('ZADD', k.auditdue, 'NX', fmt(ms), ws)
end
return {'ok', n + 1}
