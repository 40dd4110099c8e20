-- secret_used: the sealed values that an attempt was started with, for the token of its runtime.
-- READONLY
-- INCLUDE keys later run
-- ARGV
--   run        str
--   attempt    int
--   token_sha  str
-- REPLY
--   ws         str
--   secrets    table(name str, version int, sealed str)   sealed '': it was deleted since
-- ERRORS run_not_found

local r = run_get(run, {'ws', af(attempt, 'tok'), af(attempt, 'secrets')})
if not r or r[af(attempt, 'tok')] == '' or r[af(attempt, 'tok')] ~= token_sha then
  return {'run_not_found'} -- not yours and not there look the same
end
local secrets = {}
for _, used in ipairs(split(r[af(attempt, 'secrets')])) do
  local name, version = string.match(used, '^(.*)@(%d+)$')
  secrets[#secrets + 1] = {name, version, redis.call('HGET', k.secret(r.ws, name), 'v' .. version) or ''}
end
return {'ok', r.ws, secrets}
