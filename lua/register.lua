#!lua flags=allow-oom
-- register: makes a runner incarnation known and gives it a lease. Repeating it changes nothing but the lease.
-- INCLUDE keys time
-- ARGV
--   inc       str
--   fields    list  field, value, …: name, host, version, slots, queues (comma list), executors, tags, capabilities (JSON array)
--   lease_ms  int
-- REPLY
--   now_ms    int   Redis time
-- ERRORS incarnation_dead
