#!lua flags=allow-oom
-- delete: removes an ended run with everything of it, and cuts its readers.
-- INCLUDE keys run def remove
-- ARGV
--   ws   str
--   run  str
-- REPLY
-- ERRORS run_not_found run_active
