-- runners: the known runner incarnations.
-- READONLY
-- INCLUDE keys time
-- ARGV
--   limit    int
-- REPLY
--   runners  table(id str, info flat, held int, lease_ms int)   lease_ms: left of its lease, negative when over
-- ERRORS

local list = redis.call('ZRANGE', k.leases, 0, limit - 1, 'WITHSCORES')
local runners = {}
for i = 1, #list, 2 do
  runners[#runners + 1] = {list[i], redis.call('HGETALL', k.runner(list[i])), redis.call('ZCARD', k.held(list[i])), tonumber(list[i + 1]) - now_ms}
end
return {'ok', runners}
