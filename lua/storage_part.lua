-- storage_part: one part of an upload; parts come in order, one that is there already is passed over. An upload that does not go on for an hour is forgotten; a workspace has so many under way, and what they hold must fit.
-- INCLUDE keys time stored
-- ARGV
--   ws          str
--   kind        str
--   name        str
--   upload      str
--   n           int   from 0
--   data        str
--   max_uploads int
-- REPLY
--   have        int   parts that are there now
-- ERRORS storage_part limit_exceeded quota_exceeded

local HOUR_MS = 3600000
local key, open = k.upload(ws, kind, upload, name), k.uploads(ws)
local member = kind .. ':' .. upload .. ':' .. name
local have = redis.call('LLEN', key)
if n > have then
  return {'storage_part', have}
end
if n == have then
  redis.call('ZREMRANGEBYSCORE', open, '-inf', now_ms)
  if not redis.call('ZSCORE', open, member) and redis.call('ZCARD', open) >= max_uploads then
    return {'limit_exceeded', have}
  end
  -- About what the upload holds: parts are mostly of one size.
  local code = stored_room(ws, kind, name, (have + 1) * #data, 1e9)
  if code then
    return {code, have}
  end
  redis.call('RPUSH', key, data)
  have = have + 1
end
redis.call('PEXPIRE', key, HOUR_MS)
redis.call('ZADD', open, fmt(now_ms + HOUR_MS), member)
redis.call('PEXPIRE', open, HOUR_MS)
return {'ok', have}
