#!lua flags=allow-oom
-- hand_back: a draining runner returns a run whose processes are gone; it goes to the front again. Neither a failure nor a loss; the epoch closes without an event. A run that was stopping is stopped instead; one that asked for atMostOnce and has been executed ends as lost.
-- INCLUDE keys time later run lane gate stream hook close
-- ARGV
--   inc     str
--   run     str
--   epoch   int
--   attempt int
--   rid     str
--   retention_ms int
-- REPLY
--   status  str
-- ERRORS fenced

local r = run_get(run, CLOSE_FIELDS)
if not r then
  return {'fenced'}
end
local mine = redis.call('HMGET', k.run(run), 'a' .. attempt, af(attempt, 'end'), af(attempt, 'tok'))
if attempt_claim(mine[1]) == epoch and attempt_closer(mine[2]) == 'hand_back' then
  return {'ok', r.status}
end
local state = redis.call('HGET', k.runner(inc), 'state')
if attempt_claim(mine[1]) ~= epoch or mine[2] or r.inc ~= inc or tonumber(r.epoch) ~= epoch or not state or state == 'dead' then
  return {'fenced'}
end
run_policy(r, CLOSE_POLICY)
if r.stopAt ~= '' or r.claimStatus ~= '' then
  attempt_end(r, {status = 'stopped'}, 'hand_back', '', rid, retention_ms)
elseif r.atMostOnce == '1' and mine[3] then -- it was started
  take_back(r, 'hand_back', 0, rid, retention_ms)
else
  check_edge(r, 'queued')
  attempt_close(r, 'handed_back', 'hand_back')
  run_back(r)
end
return {'ok', r.status}
