-- reseal: puts a sealed value in the place of the same value under another master key, unless somebody changed it meanwhile.
-- INCLUDE keys
-- ARGV
--   path    str   of the hash, within the shard
--   field   str
--   was     str   the sealed text that was read
--   sealed  str
-- REPLY
--   done    int   0: it is another one by now, or gone
-- ERRORS

local key = k.sealed(path)
if redis.call('HGET', key, field) ~= was then
  return {'ok', 0}
end
redis.call('HSET', key, field, sealed)
return {'ok', 1}
