-- key_list: the keys of a workspace, by id. In the global prefix.
-- READONLY
-- INCLUDE keys
-- ARGV
--   ws       str
--   after    str   id to begin behind, '' for the first page
--   limit    int
-- REPLY
--   keys     table(id str, key flat)
--   next     str   '' when there are no more
-- ERRORS

local ids = redis.call('ZRANGEBYLEX', k.keys(ws), after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, limit + 1)
local out = {}
for i = 1, math.min(#ids, limit) do
  local record = redis.call('HGETALL', k.key(ids[i]))
  if #record > 0 then
    out[#out + 1] = {ids[i], record}
  end
end
return {'ok', out, #ids > limit and ids[limit] or ''}
