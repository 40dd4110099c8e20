-- bulk: takes an Idempotency-Key for a bulk action of many pages, and says when its first page came: runs made since then, by the action itself too, are none of its own.
-- INCLUDE keys time
-- ARGV
--   ws           str
--   idem_key     str
--   idem_digest  str   digest of what was asked, without the page
-- REPLY
--   start_us     int   Redis' clock at the first page
-- ERRORS idempotency_mismatch

local known = redis.call('GET', k.idem(ws, idem_key))
if known then
  local digest, start_us = string.match(known, '^(%S+) (%S+)')
  if digest ~= idem_digest then
    return {'idempotency_mismatch'}
  end
  return {'ok', start_us}
end
redis.call('SET', k.idem(ws, idem_key), idem_digest .. ' ' .. fmt(now_us) .. ' -', 'PX', 86400000)
return {'ok', fmt(now_us)}
