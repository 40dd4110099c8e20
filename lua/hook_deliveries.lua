-- hook_deliveries: a page of a webhook's deliveries, newest first.
-- READONLY
-- INCLUDE keys hook
-- ARGV
--   ws         str
--   id         str
--   before     str   cursor of the page before, '' for the first
--   limit      int
-- REPLY
--   deliveries table(id str, fields flat)
--   next       str   '' when this was the last page
-- ERRORS webhook_not_found

if id ~= HOOK_RUNS and redis.call('EXISTS', k.hook(ws, id)) == 0 then
  return {'webhook_not_found'}
end
local page = redis.call('ZREVRANGEBYSCORE', k.hooklist(ws, id), before == '' and '+inf' or '(' .. before, '-inf', 'WITHSCORES', 'LIMIT', 0, limit + 1)
local out = {}
for i = 1, math.min(#page, 2 * limit), 2 do
  local names = {'type', 'run', 'status', 'attempts', 'lastStatus', 'lastError', 'lastAt', 'next', 'created'}
  local values, flat = redis.call('HMGET', k.delivery(ws, id, page[i]), unpack(names)), {}
  for n, name in ipairs(names) do
    if values[n] then
      flat[#flat + 1] = name
      flat[#flat + 1] = values[n]
    end
  end
  out[#out + 1] = {page[i], flat}
end
return {'ok', out, #page > 2 * limit and fmt(tonumber(page[2 * limit])) or ''}
