-- storage_stale: attempts that are over and whose Redis users were not removed, oldest first.
-- READONLY
-- INCLUDE keys run
-- ARGV
--   max     int   at most
--   looks   int   at most that many are looked at
-- REPLY
--   users   table(run str, attempt int)
-- ERRORS

local users = {}
for _, member in ipairs(redis.call('ZRANGE', k.storageusers, 0, looks - 1)) do
  local id, attempt = string.match(member, '^(%S+) (%d+)$')
  local r = run_get(id, {'attempt', af(attempt, 'by')})
  if #users < max and (not r or TERMINAL[r.status] or r.attempt ~= attempt or r[af(attempt, 'by')] ~= '') then
    users[#users + 1] = {id, tonumber(attempt)}
  end
end
return {'ok', users}
