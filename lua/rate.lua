-- rate: counts a request of a key that has a rate limit, for requests whose own script can't.
-- GUARD
-- ARGV
-- REPLY
-- ERRORS rate_limited

return {'ok'}
