-- bundle_begin: begins an upload, or says what is missing of one. Its bytes count as stored by the workspace from here on. Other lengths than those of an upload that is not complete begin it anew.
-- INCLUDE keys def bundle
-- ARGV
--   ws          str
--   hex         str   SHA-256 of the archive
--   bytes       int   of the archive, at least 1
--   files       int   entries in it, as its maker says; -1: not said
--   unpacked    int   bytes of them; -1: not said
--   chunk_bytes int
--   max_bundles int
-- REPLY
--   complete    int   1: it is there, and nothing is missing
--   chunks      int
--   missing     list  numbers of the chunks that are to be sent
-- ERRORS limit_exceeded quota_exceeded

local key = k.bundle(ws, hex)
local known = redis.call('HMGET', key, 'bytes', 'chunks', 'done', 'refs')
if known[3] then
  if not known[4] then
    bundle_idle(ws, hex)
  end
  return {'ok', 1, known[2], {}}
end
local chunks = math.ceil(bytes / chunk_bytes)
if known[1] ~= fmt(bytes) then
  local use = redis.call('HMGET', k.use(ws), 'bytes', 'stored', 'bytesMax')
  if use[3] and tonumber(use[1] or '0') + tonumber(use[2] or '0') - tonumber(known[1] or '0') + bytes > tonumber(use[3]) then
    return {'quota_exceeded'}
  end
  if not known[1] and redis.call('ZCARD', k.bundles(ws)) >= max_bundles then
    return {'limit_exceeded'}
  end
  if known[1] then
    bundle_remove(ws, hex)
  end
  local clock = redis.call('TIME')
  local now_us = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
  -- puts goes on from the time: who verifies an upload that this one takes the place of must not take it for that one.
  redis.call('HSET', key, 'bytes', fmt(bytes), 'chunks', fmt(chunks), 'chunkBytes', fmt(chunk_bytes), 'created', fmt(math.floor(now_us / 1000)), 'puts', fmt(now_us))
  redis.call('ZADD', k.bundles(ws), 0, hex)
  redis.call('HINCRBY', k.use(ws), 'bytes', fmt(bytes))
end
if files >= 0 then
  redis.call('HSET', key, 'files', fmt(files))
end
if unpacked >= 0 then
  redis.call('HSET', key, 'unpacked', fmt(unpacked))
end
bundle_idle(ws, hex)
local missing = {}
for n = 0, chunks - 1 do
  if redis.call('EXISTS', k.bundle_chunk(ws, hex, fmt(n))) == 0 then
    missing[#missing + 1] = fmt(n)
  end
end
return {'ok', 0, chunks, missing}
