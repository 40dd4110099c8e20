-- storage_ws: whose storage a runner token opens: that of the run's workspace, while its attempt goes on.
-- READONLY
-- INCLUDE keys later run
-- ARGV
--   run        str
--   attempt    int
--   token_sha  str
-- REPLY
--   ws         str
-- ERRORS run_not_found fenced

local r = run_get(run, {'ws', 'attempt', af(attempt, 'tok'), af(attempt, 'end')})
if not r or r[af(attempt, 'tok')] == '' or r[af(attempt, 'tok')] ~= token_sha then
  return {'run_not_found'} -- not yours and not there look the same
end
if attempt ~= tonumber(r.attempt) or r[af(attempt, 'end')] ~= '' then
  return {'fenced'}
end
return {'ok', r.ws}
