-- bundle_list: a workspace's bundles by digest.
-- READONLY
-- INCLUDE keys
-- ARGV
--   ws       str
--   after    str   hex to begin behind, '' for the first page
--   limit    int
-- REPLY
--   bundles  table(hex str, bytes int, created_ms int, complete int, refs int)
--   next     str   '' when this was the last page
-- ERRORS

local all = redis.call('ZRANGEBYLEX', k.bundles(ws), after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, limit + 1)
local bundles = {}
for i, hex in ipairs(all) do
  if i > limit then
    return {'ok', bundles, all[limit]}
  end
  local b = redis.call('HMGET', k.bundle(ws, hex), 'bytes', 'created', 'done', 'refs')
  bundles[i] = {hex, b[1], b[2], b[3] or 0, b[4] or 0}
end
return {'ok', bundles, ''}
