-- ws_list: the workspaces of this shard that have settings, by name, as ws_get shows each.
-- READONLY
-- INCLUDE keys
-- ARGV
--   after      str   name to begin behind, '' for the first page
--   limit      int
-- REPLY
--   workspaces table(name str, info flat, waiting int, bytes int)
--   more       int   1 when there are further ones
-- ERRORS

local names = redis.call('ZRANGEBYLEX', k.workspaces, after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, limit + 1)
local out = {}
for i = 1, math.min(#names, limit) do
  local use = redis.call('HMGET', k.use(names[i]), 'waiting', 'bytes')
  out[i] = {names[i], redis.call('HGETALL', k.ws(names[i])), use[1] or '0', use[2] or '0'}
end
return {'ok', out, #names > limit and 1 or 0}
