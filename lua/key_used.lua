-- key_used: notes when keys were used last: one call for many, now and then. In the global prefix.
-- INCLUDE keys
-- ARGV
--   used     table(id str, t_ms int)
-- REPLY
-- ERRORS

for _, row in ipairs(used) do
  local before = redis.call('HMGET', k.key(row.id), 'ws', 'used')
  if before[1] and row.t_ms > tonumber(before[2] or '0') then
    redis.call('HSET', k.key(row.id), 'used', string.format('%.0f', row.t_ms))
  end
end
return {'ok'}
