-- hook_rotate: gives a webhook a new secret; the one before signs too for a while.
-- INCLUDE keys time hook
-- ARGV
--   ws         str
--   id         str
--   secret     str   sealed
--   overlap_ms int   0: the old one ends now
-- REPLY
--   fields     flat  as hook_get's
-- ERRORS webhook_not_found

local key = k.hook(ws, id)
local old = redis.call('HGET', key, 'secret')
if not old then
  return {'webhook_not_found'}
end
redis.call('HSET', key, 'secret', secret, 'rotated', fmt(now_ms), 'updated', fmt(now_ms))
if overlap_ms > 0 then
  redis.call('HSET', key, 'secretOld', old, 'oldUntil', fmt(now_ms + overlap_ms))
else
  redis.call('HDEL', key, 'secretOld', 'oldUntil')
end
return {'ok', hook_shown(ws, id)}
