-- A run's event stream and its fence. An entry's fields: h, `FIRST,LAST,T,N,C,Z` (its first and last seq, the last one's time, its events, the running totals of events and bytes), and b, its lines.
local SEQ_CLOSED = '9007199254740991'
local RESTART_GAP = 1000000

local NO_TAIL = {last = 0, t = 0, c = 0, z = 0}

-- What an entry's field `h` says: last seq, its time, and the running totals; zeros where there is none. The record of an ended run keeps that of its last one in its field `tail`.
local function tail_read(text)
  local last, t, c, z = string.match(text, '^%d+,(%d+),(%d+),%d+,(%d+),(%d+)$')
  if not last then
    return NO_TAIL
  end
  return {last = tonumber(last), t = tonumber(t), c = tonumber(c), z = tonumber(z)}
end

-- What the newest entry says. A run has no stream until it is started, or something is said of it: after that NOMKSTREAM tells one that is gone.
local function tail(id)
  local entries = redis.call('XREVRANGE', k.events(id), '+', '-', 'COUNT', 1)
  return entries[1] and tail_read(entries[1][2][2]) or NO_TAIL
end

-- The seq that follows what is stored of a run (id, attempt, createdUs, rid). An attempt that wrote nothing has used up its first seq, too. After a restart of Redis readers may have seen events that it lost: hence a gap, and for each
-- microsecond since the last claim that is known another seq, so that what was given twice from one state (a Redis may have come and gone in between, with all that it was told) is never the same.
local function seq_after(run, last, rid)
  local seq, since = last + 1, tonumber(run.createdUs)
  if tonumber(run.attempt) > 0 then
    local _, first, claimed = attempt_claim(redis.call('HGET', k.run(run.id), 'a' .. run.attempt))
    seq = math.max(seq, first)
    since = claimed * 1000
  end
  if run.rid ~= '' and run.rid ~= rid_short(rid) then
    seq = seq + RESTART_GAP + math.max(0, now_us - since)
  end
  return seq
end

-- Writes one event of our own at the given id, behind c events of z bytes. seq and t are text. Returns its `h`, and the bytes of all events.
local function event_add(id, entry_id, seq, t, kind, data, c, z)
  local line = '{"seq":' .. seq .. ',"tMs":' .. t .. ',"kind":"' .. kind .. '","data":' .. data .. '}'
  z = z + #line
  local said = seq .. ',' .. seq .. ',' .. t .. ',1,' .. fmt(c + 1) .. ',' .. fmt(z)
  redis.call('XADD', k.events(id), entry_id, 'h', said, 'b', line)
  return said, z
end
