-- bundle_get: what is known of a bundle.
-- READONLY
-- INCLUDE keys
-- ARGV
--   ws          str
--   hex         str
-- REPLY
--   bytes       int
--   chunks      int
--   chunk_bytes int
--   created_ms  int
--   complete    int
--   refs        int   definitions that name it
--   files       int   -1: not said
--   unpacked    int   -1: not said
--   puts        int   raised with each chunk that is stored; another one for each upload
-- ERRORS bundle_not_found

local b = redis.call('HMGET', k.bundle(ws, hex), 'bytes', 'chunks', 'chunkBytes', 'created', 'done', 'refs', 'files', 'unpacked', 'puts')
if not b[1] then
  return {'bundle_not_found'}
end
return {'ok', b[1], b[2], b[3], b[4], b[5] or 0, b[6] or 0, b[7] or -1, b[8] or -1, b[9] or 0}
