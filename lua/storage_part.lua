-- storage_part: one part of an upload; parts come in order, one that is there already is passed over. An upload that does not go on for an hour is forgotten.
-- INCLUDE keys
-- ARGV
--   ws      str
--   kind    str
--   name    str
--   upload  str
--   n       int   from 0
--   data    str
-- REPLY
--   have    int   parts that are there now
-- ERRORS storage_part

local HOUR_MS = 3600000
local key = k.upload(ws, kind, upload, name)
local have = redis.call('LLEN', key)
if n > have then
  return {'storage_part', have}
end
if n == have then
  redis.call('RPUSH', key, data)
  have = have + 1
end
redis.call('PEXPIRE', key, HOUR_MS)
return {'ok', have}
