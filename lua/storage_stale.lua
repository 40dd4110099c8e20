-- storage_stale: attempts that are over and whose Redis users were not removed, oldest first.
-- READONLY
-- INCLUDE keys later run
-- ARGV
--   max     int   at most
--   from    int   where to begin: 0, or what `next` said
--   looks   int   at most that many are looked at
-- REPLY
--   users   table(run str, attempt int)
--   next    int   where to go on; 0: from the beginning
-- ERRORS

local users = {}
local members = redis.call('ZRANGE', k.storageusers, from, from + looks - 1)
for _, member in ipairs(members) do
  local id, attempt = string.match(member, '^(%S+) (%d+)$')
  local r = run_get(id, {'attempt', af(attempt, 'end')})
  if #users < max and (not r or TERMINAL[r.status] or r.attempt ~= attempt or r[af(attempt, 'end')] ~= '') then
    users[#users + 1] = {id, tonumber(attempt)}
  end
end
return {'ok', users, #members == looks and from + looks or 0}
