-- schedule_list: a workspace's schedules by name.
-- READONLY
-- INCLUDE keys schedule
-- ARGV
--   ws         str
--   after      str   name to begin behind, '' for the first page
--   limit      int
-- REPLY
--   schedules  table(name str, fields flat)
--   next       str   '' when this was the last page
-- ERRORS

local names = redis.call('ZRANGEBYLEX', k.schedules(ws), after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, limit + 1)
local schedules = {}
for i, name in ipairs(names) do
  if i > limit then
    return {'ok', schedules, names[limit]}
  end
  schedules[i] = {name, schedule_shown(k.schedule(ws, name))}
end
return {'ok', schedules, ''}
