-- list: a page of a workspace's runs, newest first; examines at most `examine` of them.
-- READONLY
-- GUARD
-- INCLUDE keys later run stream summary narrow
-- ARGV
--   ws         str
--   dead       int   1: of the dead letters only
--   agent      str   '' for all
--   queue      str   '' for all
--   schedule   str   '' for all
--   agents_in  str   comma list that a narrowed key is kept to, '' for all
--   queues_in  str   the same
--   statuses   list  empty for all
--   labels     list  needles as stored, `"key":"value"`
--   created_by str   '' for all
--   since_ms   int   0 for none
--   until_ms   int   0 for none
--   cursor     str   the last page's next, '' for the first
--   limit      int
--   examine    int
--   brief      int   1: of each record its status alone, and no counters
-- REPLY
--   runs       table(run str, created_us int, record flat, last_seq int, event_count int, event_bytes int)   record: the run hash without input, result and attempts
--   next       str   '' when this was the last page
--   examined   int
-- ERRORS

local CHUNK = 100
local fields = brief == 1 and {'agent', 'queue', 'schedule', 'createdBy', 'labels'} or FETCHED
local index = dead == 1 and k.dead(ws) or k.idx(ws, agent)
local wanted = #statuses > 0 and {} or nil
for _, status in ipairs(statuses) do
  wanted[status] = true
end
local max_score = until_ms > 0 and fmt(until_ms * 1000 + 999) or '+inf'
local min_score = since_ms > 0 and fmt(since_ms * 1000) or '-inf'
local after_score, after_id = string.match(cursor, '^(%d+):(.+)$')
if after_score and (max_score == '+inf' or tonumber(after_score) < tonumber(max_score)) then
  max_score = after_score
end

local function fits(r)
  if not listed(agents_in, r.agent) or not listed(queues_in, r.queue) then
    return false
  end
  if (wanted and not wanted[r.status]) or (created_by ~= '' and r.createdBy ~= created_by) then
    return false
  end
  if (agent ~= '' and r.agent ~= agent) or (queue ~= '' and r.queue ~= queue) or (schedule ~= '' and r.schedule ~= schedule) then
    return false
  end
  for _, needle in ipairs(labels) do
    local at = string.find(r.labels, needle, 1, true)
    if not at or not string.find(string.sub(r.labels, at - 1, at - 1), '[{,]') then
      return false
    end
  end
  return true
end

local function row(id, score, r)
  if brief == 1 then
    return {id, score, {'status', r.status}, 0, 0, 0}
  end
  local flat, now = run_summary(r)
  return {id, score, flat, now.last, now.c, now.z}
end

local runs, examined, offset, next_cursor = {}, 0, 0, ''
while true do
  local page = redis.call('ZREVRANGEBYSCORE', index, max_score, min_score, 'WITHSCORES', 'LIMIT', offset, CHUNK)
  for i = 1, #page, 2 do
    local id, score = page[i], fmt(tonumber(page[i + 1]))
    if not (after_score and score == after_score and id >= after_id) then -- ties: in the order that ZREVRANGE gives
      if #runs >= limit or examined >= examine then
        return {'ok', runs, next_cursor, examined}
      end
      examined = examined + 1
      next_cursor = score .. ':' .. id
      local r = run_get(id, fields)
      if r and fits(r) then
        runs[#runs + 1] = row(id, score, r)
      end
    end
  end
  if #page < 2 * CHUNK then
    return {'ok', runs, '', examined}
  end
  offset = offset + CHUNK
end
