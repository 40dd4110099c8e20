#!lua flags=allow-oom
-- handle: stores what a provisioned attempt is known by outside (pid, container id, …), or its newest resource statistics, in the run's record.
-- INCLUDE keys run
-- ARGV
--   run     str
--   epoch   int
--   handle  str   JSON object, '' leaves it
--   stats   str   JSON object, '' leaves it
-- REPLY
-- ERRORS fenced
