#!lua flags=allow-oom
-- register: makes a runner incarnation known and gives it a lease. Repeating it changes nothing but the lease.
-- INCLUDE keys time
-- ARGV
--   inc       str
--   fields    list  field, value, …: name, host, version, slots, queues (comma list), executors, tags, capabilities (JSON object), enforces (comma list of executor:capability), adopts (1: a successor of its name may take its runs over), proc
--   lease_ms  int
-- REPLY
--   now_ms    int   Redis time
-- ERRORS incarnation_dead

local state = redis.call('HGET', k.runner(inc), 'state')
if state == 'dead' then
  return {'incarnation_dead'}
end
if not state then
  redis.call('HSET', k.runner(inc), 'state', 'live', 'claimNo', '0', 'answered', '0', 'registered', fmt(now_ms), unpack(fields))
end
redis.call('ZADD', k.leases, fmt(now_ms + lease_ms), inc)
return {'ok', now_ms}
