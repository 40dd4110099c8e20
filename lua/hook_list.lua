-- hook_list: a workspace's webhooks, by id.
-- READONLY
-- INCLUDE keys hook
-- ARGV
--   ws     str
-- REPLY
--   hooks  table(id str, fields flat)
-- ERRORS

local ids, hooks = redis.call('HKEYS', k.hooks(ws)), {}
table.sort(ids)
for _, id in ipairs(ids) do
  if id ~= '*' then
    hooks[#hooks + 1] = {id, hook_shown(ws, id)}
  end
end
return {'ok', hooks}
