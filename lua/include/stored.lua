-- What is known of things that were stored over HTTP (hash stored:WS:KIND): name → `BYTES MS DIGEST TYPE`. What an agent wrote with its Redis user has no such entry, or, where it wrote over such a thing, a stale one.

-- Bytes, time, digest and content type of an entry; nil for none.
local function stored_read(ws, kind, name)
  local text = redis.call('HGET', k.stored(ws, kind), name)
  if not text then
    return nil
  end
  local bytes, ms, digest, content = string.match(text, '^(%d+) (%d+) (%S+) (.*)$')
  return {bytes = tonumber(bytes), ms = tonumber(ms), digest = digest, content = content}
end

local function stored_forget(ws, kind, name)
  local old = stored_read(ws, kind, name)
  if old then
    redis.call('HDEL', k.stored(ws, kind), name)
    add_count(k.use(ws), 'stored', fmt(-old.bytes))
  end
end

-- An error code where there is no room for so many bytes under that name; else nil.
local function stored_room(ws, kind, name, bytes, max_objects)
  local old = stored_read(ws, kind, name)
  if not old and redis.call('HLEN', k.stored(ws, kind)) >= max_objects then
    return 'limit_exceeded'
  end
  local use = redis.call('HMGET', k.use(ws), 'bytes', 'stored', 'bytesMax')
  local most = tonumber(use[3] or '')
  if most and tonumber(use[1] or '0') + tonumber(use[2] or '0') - (old and old.bytes or 0) + bytes > most then
    return 'quota_exceeded'
  end
  return nil
end

local function stored_note(ws, kind, name, bytes, digest, content)
  stored_forget(ws, kind, name)
  redis.call('HSET', k.stored(ws, kind), name, fmt(bytes) .. ' ' .. fmt(now_ms) .. ' ' .. digest .. ' ' .. content)
  if bytes > 0 then
    redis.call('HINCRBY', k.use(ws), 'stored', fmt(bytes))
  end
end

-- What stands under a name: its type, bytes and parts, and the entry, if that speaks of the same.
local function stored_look(ws, kind, name)
  local key = k.data(ws, kind, name)
  local what = redis.call('TYPE', key).ok
  local about = stored_read(ws, kind, name)
  local bytes, parts = 0, 1
  if what == 'string' then
    bytes = redis.call('STRLEN', key)
    about = about and about.bytes == bytes and about or nil
  elseif what == 'list' and about then
    bytes, parts = about.bytes, redis.call('LLEN', key)
  elseif what == 'list' then
    what = 'other' -- somebody's own list: nobody knows what it is
  elseif what ~= 'none' then
    what = 'other'
  end
  return what, bytes, parts, about or {ms = 0, digest = '', content = ''}
end
