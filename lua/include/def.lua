-- Agent definitions, shared by digest and counted: one that nothing uses any more is removed. One that names a bundle (its field `bundle`, WS:HEX) belongs to that workspace alone, and counts as one user of the bundle.
local BUNDLE_NAMED = '^(.+):(%x+)$'
local BUNDLE_IDLE_MS = 86400000 -- for so long a bundle stays that nobody uses, or whose upload does not go on

-- Nobody uses it now: it stays for another day.
local function bundle_idle(ws, hex)
  local clock = redis.call('TIME')
  redis.call('ZADD', k.bundledue, fmt(tonumber(clock[1]) * 1000 + BUNDLE_IDLE_MS), ws .. ':' .. hex)
end

local function bundle_count(named, by)
  local ws, hex = string.match(named, BUNDLE_NAMED)
  if redis.call('EXISTS', k.bundle(ws, hex)) == 0 then
    return
  end
  if redis.call('HINCRBY', k.bundle(ws, hex), 'refs', by) > 0 then
    redis.call('ZREM', k.bundledue, named)
  else
    redis.call('HDEL', k.bundle(ws, hex), 'refs')
    bundle_idle(ws, hex)
  end
end

local function def_bundle(fields)
  for i = 1, #fields, 2 do
    if fields[i] == 'bundle' then
      return fields[i + 1]
    end
  end
end

-- Whether the bundle that it names, if it names one, is whole and of this workspace. To be asked before anything is written.
local function def_ready(ws, fields)
  local named = def_bundle(fields)
  if not named then
    return true
  end
  local owner, hex = string.match(named, BUNDLE_NAMED)
  return owner == ws and redis.call('HGET', k.bundle(owner, hex), 'done') == '1'
end

-- What of a definition is decided at submission; the rest is read when it is needed.
local DEF_FIELDS = {'queue', 'executor', 'source', 'tags', 'needs', 'slots', 'startWithinMs', 'concurrency', 'rate', 'inputSchema'}
local DEF_PLAIN = {source = 'stdout', slots = '1'}

-- ` QUEUE EXECUTOR` of a definition of which nothing else matters at submission; '' of any other.
local function def_plain(digest)
  local values = redis.call('HMGET', k.def(digest), unpack(DEF_FIELDS))
  for i = 3, #DEF_FIELDS do
    if values[i] and values[i] ~= '' and values[i] ~= DEF_PLAIN[DEF_FIELDS[i]] then
      return ''
    end
  end
  return values[1] and values[2] and ' ' .. values[1] .. ' ' .. values[2] or ''
end

local function def_ref(digest, fields)
  if redis.call('HINCRBY', k.def(digest), 'refs', '1') == 1 and #fields > 0 then
    redis.call('HSET', k.def(digest), unpack(fields))
    local named = def_bundle(fields)
    if named then
      bundle_count(named, 1)
    end
  end
end

local function def_unref(digest)
  if redis.call('HINCRBY', k.def(digest), 'refs', -1) <= 0 then
    local named = redis.call('HGET', k.def(digest), 'bundle')
    redis.call('DEL', k.def(digest))
    if named then
      bundle_count(named, -1)
    end
  end
end
