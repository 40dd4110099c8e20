#!lua flags=allow-oom
-- audit_seal: seals entries of a workspace's audit log, if its last seal is still the one that the caller went on from: of two nodes one wins. A log without entries behind its last seal is not open any more.
-- INCLUDE keys audit
-- ARGV
--   ws    str
--   seen  str   id of the last seal; '' for none
--   id    str   of the last entry that is sealed; '' to seal nothing
--   from  int   number of the first one
--   h     str
-- REPLY
--   won   int
--   more  int   1: entries behind the last seal
-- ERRORS

local key = k.auditseal(ws)
local last = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
local at = last and last[1] or ''
local won = 0
if at == seen and id ~= '' then
  if last and audit_last(key) ~= at then -- seals were removed by hand: those that take their place may have lower ids
    redis.call('XSETID', key, at)
  elseif not last then
    redis.call('DEL', key)
  end
  redis.call('XADD', key, id, 'from', from, 'h', h)
  at, won = id, 1
end
local behind = redis.call('XRANGE', k.auditlog(ws), at == '' and '-' or '(' .. at, '+', 'COUNT', 1)
if not behind[1] then
  redis.call('SREM', k.auditopen, ws)
end
return {'ok', won, behind[1] and 1 or 0}
