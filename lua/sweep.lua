#!lua flags=allow-oom
-- sweep: removes ended runs whose retention is over; or only their events (member `e:ID`) or result (`r:ID`), where those are kept for a shorter time. And bundles that nobody has named for a day.
-- INCLUDE keys time later run stream def remove bundle
-- ARGV
--   max    int
-- REPLY
--   swept  int
--   more   int
-- ERRORS

local BUNDLES_MAX = 4 -- each has up to 128 chunks

-- A reader is told by a gap up to droppedTo; the record keeps its counts. An empty stream with the same last id takes the place of the one that goes: to trim it would free every entry here and now.
local function drop_events(run)
  redis.call('UNLINK', k.events(run.id))
  local stored = tail_read(run.tail)
  redis.call('XADD', k.events(run.id), 'MAXLEN', 0, SEQ_CLOSED .. '-' .. fmt(stored.last), 'x', '')
  redis.call('HSET', k.run(run.id), 'droppedTo', fmt(stored.last))
  add_count(k.use(run.ws), 'bytes', fmt(-stored.z))
end

local function drop_result(run)
  redis.call('HDEL', k.run(run.id), 'result')
  redis.call('HSET', k.run(run.id), 'resultDropped', '1', 'size', fmt(tonumber(run.size) - #run.result))
  add_count(k.use(run.ws), 'bytes', fmt(-#run.result))
end

local due = redis.call('ZRANGEBYSCORE', k.retain, '-inf', now_ms, 'LIMIT', 0, max)
for _, member in ipairs(due) do
  local part, id = string.match(member, '^([er]):(.+)$')
  local r = run_get(id or member, REMOVE_FIELDS)
  if not r or part then
    redis.call('ZREM', k.retain, member)
  end
  if r and part == 'e' then
    drop_events(r)
  elseif r and part == 'r' then
    drop_result(r)
  elseif r then
    run_remove(r)
  end
end
local idle = redis.call('ZRANGEBYSCORE', k.bundledue, '-inf', now_ms, 'LIMIT', 0, BUNDLES_MAX)
for _, named in ipairs(idle) do
  bundle_remove(string.match(named, BUNDLE_NAMED))
end
return {'ok', #due, (#due == max or #idle == BUNDLES_MAX) and 1 or 0}
