#!lua flags=allow-oom
-- hook_done: what came of an attempt to deliver. Nothing when the lease is another's by now.
-- INCLUDE keys time hook
-- ARGV
--   ws        str
--   hook      str
--   id        str
--   lease     str   as hook_take gave it
--   outcome   str   delivered; retry (after delay_ms); gaveup; failed; or gone: failed, and the webhook is disabled
--   code      int   the answer's status, 0 for none
--   why       str   a sentence, '' for none
--   delay_ms  int
-- REPLY
--   done      int   1: it was this lease's
-- ERRORS

local key = k.delivery(ws, hook, id)
if redis.call('HGET', key, 'lease') ~= lease then
  return {'ok', 0}
end
redis.call('HSET', key, 'lastStatus', code, 'lastAt', fmt(now_ms), 'lastError', why)
redis.call('HINCRBY', key, 'attempts', 1)
redis.call('HINCRBY', key, 'tries', 1)
redis.call('ZREM', k.hooklease(ws, hook), id)
if outcome == 'retry' then
  redis.call('HSET', key, 'next', fmt(now_ms + delay_ms))
  redis.call('HDEL', key, 'lease')
  redis.call('ZADD', k.hookdue(ws, hook), fmt(now_ms + delay_ms), id)
else
  hook_settle(ws, hook, id, outcome == 'gone' and 'failed' or outcome)
end
local record = k.hook(ws, hook)
if redis.call('EXISTS', record) == 1 then
  if outcome == 'delivered' then
    redis.call('HSET', record, 'lastDelivered', fmt(now_ms))
    redis.call('HDEL', record, 'failures', 'failingSince')
  else
    redis.call('HINCRBY', record, 'failures', 1)
    redis.call('HSETNX', record, 'failingSince', fmt(now_ms))
  end
  if outcome == 'gone' then
    redis.call('HSET', record, 'enabled', '0', 'disabledReason', 'gone', 'updated', fmt(now_ms))
    hook_filter(ws, hook, '')
  end
end
hook_look(ws, hook)
return {'ok', 1}
