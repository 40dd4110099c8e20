#!lua flags=allow-oom
-- sweep: removes ended runs whose retention is over.
-- INCLUDE keys time run def remove
-- ARGV
--   max    int
-- REPLY
--   swept  int
--   more   int
-- ERRORS
