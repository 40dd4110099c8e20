-- batch: takes an Idempotency-Key for a whole batch of runs, before any of them is submitted (each then has a key of its own under this one).
-- INCLUDE keys
-- ARGV
--   ws           str
--   idem_key     str
--   idem_digest  str   digest of what was asked
-- REPLY
-- ERRORS idempotency_mismatch

local known = redis.call('GET', k.idem(ws, idem_key))
if known and string.match(known, '^%S+') ~= idem_digest then
  return {'idempotency_mismatch'}
end
if not known then
  redis.call('SET', k.idem(ws, idem_key), idem_digest .. ' - -', 'PX', 86400000)
end
return {'ok'}
