-- bundle_chunk: stores a chunk of an upload. All have the same length, but the last one. One of a complete bundle changes nothing.
-- INCLUDE keys def
-- ARGV
--   ws       str
--   hex      str
--   n        int   from 0
--   data     str
-- REPLY
--   chunks   int
--   bytes    int   that this one must have; 0 where there is none of that number
-- ERRORS bundle_not_found invalid_parameter invalid_field

local key = k.bundle(ws, hex)
local known = redis.call('HMGET', key, 'bytes', 'chunks', 'chunkBytes', 'done')
if not known[1] then
  return {'bundle_not_found', 0, 0}
end
local bytes, chunks, size = tonumber(known[1]), tonumber(known[2]), tonumber(known[3])
if n >= chunks then
  return {'invalid_parameter', chunks, 0}
end
local wanted = math.min(size, bytes - n * size)
if #data ~= wanted then
  return {'invalid_field', chunks, wanted}
end
if not known[4] then
  redis.call('SET', k.bundle_chunk(ws, hex, fmt(n)), data)
  redis.call('HINCRBY', key, 'puts', 1) -- who verifies it meanwhile has seen something else
  bundle_idle(ws, hex)
end
return {'ok', chunks, wanted}
