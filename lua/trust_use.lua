-- trust_use: takes a token once: while its policy is still the one that it was found to fit, and nobody had a key for it before.
-- INCLUDE keys
-- ARGV
--   ws       str
--   name     str
--   version  str   of the policy
--   digest   str   of the token
--   keep_ms  int   until it is certain to have expired
-- REPLY
-- ERRORS trust_not_found token_used

if redis.call('HGET', k.trust(ws, name), 'version') ~= version then
  return {'trust_not_found'}
end
if not redis.call('SET', k.used(digest), '1', 'NX', 'PX', fmt(keep_ms)) then
  return {'token_used'}
end
return {'ok'}
