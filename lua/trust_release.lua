#!lua flags=allow-oom
-- trust_release: a token that was taken, and for which no key could be made, may be shown again.
-- INCLUDE keys
-- ARGV
--   digest  str
-- REPLY
-- ERRORS

redis.call('DEL', k.used(digest))
return {'ok'}
