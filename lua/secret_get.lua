#!lua flags=allow-oom
-- secret_get: the sealed values that an attempt is to be started with, of the run's own workspace; notes which versions they are. Only for who holds the attempt. Asked again it may find newer ones.
-- INCLUDE keys later run
-- ARGV
--   inc      str
--   run      str
--   epoch    int
--   wants    table(name str, version int)   version 0: the newest
-- REPLY
--   ws       str
--   secrets  table(name str, version int, sealed str)   as wanted; version 0: it is not there
-- ERRORS fenced

local r = run_get(run, {'epoch', 'inc', 'attempt', 'ws'})
if not r or r.inc ~= inc or tonumber(r.epoch) ~= epoch or TERMINAL[r.status] or redis.call('ZSCORE', k.held(inc), run) == false then
  return {'fenced'}
end
local secrets, used, seen = {}, {}, {}
for i, want in ipairs(wants) do
  local key = k.secret(r.ws, want.name)
  local version = want.version > 0 and fmt(want.version) or redis.call('HGET', key, 'latest')
  local sealed = version and redis.call('HGET', key, 'v' .. version)
  secrets[i] = {want.name, sealed and version or '0', sealed or ''}
  local name = sealed and want.name .. '@' .. version
  if name and not seen[name] then
    seen[name] = true
    used[#used + 1] = name
  end
end
redis.call('HSET', k.run(run), af(r.attempt, 'secrets'), table.concat(used, ' '))
return {'ok', r.ws, secrets}
