-- audit_open: workspaces whose audit log has entries that are not sealed, in no order, so that none keeps others waiting; and those whose oldest entries are due to go.
-- READONLY
-- INCLUDE keys time
-- ARGV
--   max          int
--   retention_ms int
-- REPLY
--   open         list
--   due          list
-- ERRORS

local open = redis.call('SRANDMEMBER', k.auditopen, max)
return {'ok', open, redis.call('ZRANGEBYSCORE', k.auditdue, '-inf', fmt(now_ms - retention_ms), 'LIMIT', 0, max)}
