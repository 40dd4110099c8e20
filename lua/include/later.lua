-- What the calls of one group read once, and write once at its end. A call that came alone does all of it at once. Whoever reads what may have been put off calls later_write before.
local later -- nil: this call came alone
-- EACH CALL
later = nil

-- EACH GROUP
later = {known = {}, counts = {}, lives = {}, fields = {}, entries = {}, gone = {}}

-- Some fields of a hash of which every reader in this script wants the same ones, and which no call of a group changes but through what is returned here.
local function known(key, ...)
  local values = later and later.known[key]
  if not values then
    values = redis.call('HMGET', key, ...)
    if later then
      later.known[key] = values
    end
  end
  return values
end

-- add_count, where nothing depends on the number. live_ms: of a hash that lives only so long from its first count on, or from that of a group.
local function count_later(key, field, by, live_ms)
  if not later then
    if add_count(key, field, by) == by and live_ms then
      redis.call('PEXPIRE', key, live_ms)
    end
    return
  end
  local counts = later.counts[key] or {}
  later.counts[key] = counts
  counts[field] = (counts[field] or 0) + by
  later.lives[key] = later.lives[key] or live_ms
end

local function set_later(key, field, value)
  if not later then
    return redis.call('HSET', key, field, value)
  end
  local fields = later.fields[key] or {}
  later.fields[key] = fields
  fields[field] = value
end

-- ZADD.
local function entry_later(key, score, member)
  if not later then
    return redis.call('ZADD', key, score, member)
  end
  local list = later.entries[key] or {}
  later.entries[key] = list
  list[#list + 1], list[#list + 2] = score, member
end

-- ZREM.
local function gone_later(key, member)
  if not later then
    return redis.call('ZREM', key, member)
  end
  local list = later.gone[key] or {}
  later.gone[key] = list
  list[#list + 1] = member
end

-- Writes what was put off, and forgets what was read.
local function later_write()
  if not later then
    return
  end
  local put = later
  later = nil
  for key, counts in pairs(put.counts) do
    for field, by in pairs(counts) do
      if by ~= 0 then
        add_count(key, field, by)
      end
    end
    if put.lives[key] then
      redis.call('PEXPIRE', key, put.lives[key])
    end
  end
  for key, fields in pairs(put.fields) do
    local words = {}
    for field, value in pairs(fields) do
      words[#words + 1] = field
      words[#words + 1] = value
    end
    redis.call('HSET', key, unpack(words))
  end
  for key, list in pairs(put.entries) do
    redis.call('ZADD', key, unpack(list))
  end
  for key, list in pairs(put.gone) do
    redis.call('ZREM', key, unpack(list))
  end
  later = {known = {}, counts = {}, lives = {}, fields = {}, entries = {}, gone = {}}
end

-- END OF GROUP
later_write()
