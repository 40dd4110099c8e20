#!lua flags=allow-oom
-- agent_delete: forgets an agent; its runs keep the definition they were submitted with.
-- INCLUDE keys def
-- ARGV
--   ws    str
--   name  str
-- REPLY
-- ERRORS agent_not_found
