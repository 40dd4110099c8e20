-- audit_page: entries of a workspace's audit log, oldest first; with the seals among them and, on a first page, the seal before it, so that what is read can be verified.
-- READONLY
-- INCLUDE keys audit
-- ARGV
--   ws       str
--   after    str   id to begin behind; '' for a first page
--   since_ms int   of a first page; with seals it begins behind the newest seal before that time
--   until_ms int   entries before that time; 0: all
--   count    int   most entries
--   seals    int   1: with seals
-- REPLY
--   entries  table(id str, fields flat)
--   seals    table(id str, from int, h str)
--   anchor   str   id of the seal before a first page; '' for none
--   anchor_h str
--   begins   int   number of the oldest entry that is kept; 0: there is none
--   more     int   1: entries follow
-- ERRORS

local key, seal_key = k.auditlog(ws), k.auditseal(ws)
local first = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
local first_ms, begins = 0, 0
if first then
  first_ms, begins = audit_id(first[1])
end
local start, anchor = after ~= '' and '(' .. after or fmt(since_ms)
if after == '' and seals == 1 then
  if first and since_ms > first_ms then
    anchor = redis.call('XREVRANGE', seal_key, '(' .. fmt(since_ms) .. '-0', '-', 'COUNT', 1)[1]
  else
    -- Trimming leaves one seal before the oldest entry. Where there are more, they speak of entries that somebody removed: so the oldest one.
    anchor = redis.call('XRANGE', seal_key, '-', '+', 'COUNT', 1)[1]
    if anchor and first and select(2, audit_id(anchor[1])) >= begins then
      anchor = nil
    end
  end
  start = anchor and '(' .. anchor[1] or '-'
end
local stop = until_ms > 0 and '(' .. fmt(until_ms) .. '-0' or '+'
local entries = redis.call('XRANGE', key, start, stop, 'COUNT', count + 1)
local more = 0
if #entries > count then
  entries[#entries] = nil
  more = 1
end
local rows = {}
if seals == 1 then
  -- Behind the last entry too: a seal there speaks of entries that are gone.
  for i, seal in ipairs(redis.call('XRANGE', seal_key, start, more == 1 and entries[count][1] or stop, 'COUNT', 4 * count)) do
    local s = {}
    for f = 1, #seal[2], 2 do
      s[seal[2][f]] = seal[2][f + 1]
    end
    rows[i] = {seal[1], tonumber(s.from) or 0, s.h or ''}
  end
end
local anchor_h = ''
if anchor then
  for f = 1, #anchor[2], 2 do
    anchor_h = anchor[2][f] == 'h' and anchor[2][f + 1] or anchor_h
  end
end
return {'ok', entries, rows, anchor and anchor[1] or '', anchor_h, begins, more}
