-- bundle_done: ends the verification of an upload: it is complete from here on, or (the bytes are not those of its digest) all of its chunks are to be sent again.
-- INCLUDE keys def bundle
-- ARGV
--   ws       str
--   hex      str
--   puts     int   what bundle_get said before the first chunk was read
--   good     int   1: length and digest are right
-- REPLY
-- ERRORS bundle_not_found bundle_incomplete

local key = k.bundle(ws, hex)
local known = redis.call('HMGET', key, 'chunks', 'done', 'puts')
if not known[1] then
  return {'bundle_not_found'}
end
if known[2] then
  return {'ok'}
end
if tonumber(known[3] or '0') ~= puts then
  return {'bundle_incomplete'} -- a chunk was replaced after it was looked at
end
if good == 1 then
  redis.call('HSET', key, 'done', '1')
  redis.call('HDEL', key, 'puts')
else
  bundle_drop_chunks(ws, hex, tonumber(known[1]))
  redis.call('HINCRBY', key, 'puts', 1)
end
bundle_idle(ws, hex)
return {'ok'}
