-- children: a page of a run's tree in pre-order, children by creation. The walk's position is a path: the runs from the tree's root downwards whose children are being visited, each with the last child seen.
-- READONLY
-- INCLUDE keys later run stream summary
-- ARGV
--   ws      str
--   root    str   the run to begin with, its own record first; '' to go on from path
--   limit   int   most runs in the page
--   path    table(run str, after str)   where the last page ended; after: `createdUs:id` of the last child seen, '' for none
-- REPLY
--   runs    table(run str, depth int, record flat, last_seq int, event_count int, event_bytes int)   depth: 0 for the root
--   rest    table(run str, after str)   the path to go on with; empty: that was all
-- ERRORS run_not_found

local TIES = 4

-- The child of parent that follows `after`, and its position; nil behind the last one. Where runs were created in the same microsecond their ids decide, as in the set.
local function next_child(parent, after)
  local score, last = string.match(after, '^(%d+):(.+)$')
  local offset = 0
  while true do
    local page = redis.call('ZRANGEBYSCORE', k.children(parent), score or '-inf', '+inf', 'WITHSCORES', 'LIMIT', offset, score and TIES or 1)
    for i = 1, #page, 2 do
      local us = fmt(tonumber(page[i + 1]))
      if us ~= score or page[i] > last then
        return page[i], us .. ':' .. page[i]
      end
    end
    if #page < 2 * TIES then
      return nil
    end
    offset = offset + TIES
  end
end

local runs = {}
local function visit(r, depth)
  local flat, now = run_summary(r)
  runs[#runs + 1] = {r.id, depth, flat, now.last, now.c, now.z}
  path[depth + 1] = {run = r.id, after = ''}
end

if root ~= '' then
  local r = run_get(root, FETCHED)
  if not r or r.ws ~= ws then
    return {'run_not_found'}
  end
  path = {}
  visit(r, 0)
end
-- Each step shows a run or leaves one behind; a run that was removed meanwhile is one that is left behind.
local steps = #path + 3 * limit
while #path > 0 and #runs < limit and steps > 0 do
  steps = steps - 1
  local at = path[#path]
  local child, position = next_child(at.run, at.after)
  if child then
    at.after = position
    local r = run_get(child, FETCHED)
    if r and r.ws == ws then
      visit(r, #path)
    end
  else
    path[#path] = nil
  end
end
local rest = {}
for i, at in ipairs(path) do
  rest[i] = {at.run, at.after}
end
return {'ok', runs, rest}
