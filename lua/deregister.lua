#!lua flags=allow-oom
-- deregister: a runner that ends well gives up its lease; refused while it holds runs.
-- INCLUDE keys
-- ARGV
--   inc  str
-- REPLY
--   held int  runs it still holds (then nothing was done)
-- ERRORS
