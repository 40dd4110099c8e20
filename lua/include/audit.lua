-- A workspace's audit log: a stream of entries with the ids `<ms>-<n>`, n counting them from 1 without a gap, so that an id says both when and which; and a stream of seals (api/sealer.c), each with the id of the last entry
-- that it speaks of.

-- Of an id: its time and its number.
local function audit_id(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(n)
end

-- The newest id that the stream ever had, also where that entry is gone: numbers are given once.
local function audit_last(key)
  if redis.call('EXISTS', key) == 0 then
    return '0-0'
  end
  local info = redis.call('XINFO', 'STREAM', key)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      return info[i + 1]
    end
  end
end
