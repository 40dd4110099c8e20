-- API keys, in the global prefix. Each change raises keyver and is published: nodes forget what they know of the key, and cut its streams where it is none any more.
local KEPT_MS = 2592000000 -- a revoked or expired key is shown for 30 days
local STALE = 100 -- rows of gone keys removed by one call

-- Tells all nodes. word: a key's id, or `s:` and a session's digest.
local function key_changed(word)
  redis.call('INCR', k.keyver)
  redis.call('PUBLISH', k.keynews, word)
end

-- What a key may do, as one text: what was judged is compared with what there is when it is changed.
local function key_rights(id)
  local row = redis.call('HMGET', k.key(id), 'scopes', 'agents', 'queues', 'cidrs', 'expires')
  for i = 1, 5 do
    row[i] = row[i] or ''
  end
  return table.concat(row, '|')
end

-- Whether it is a key of this workspace that has not ended.
local function key_of(ws, id)
  local row = redis.call('HMGET', k.key(id), 'ws', 'revoked', 'expires')
  return row[1] == ws and not row[2] and (not row[3] or tonumber(row[3]) > now_ms)
end

-- Rows of keys that are not there any more leave the index.
local function key_sweep(ws)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', k.keysgone(ws), '-inf', fmt(now_ms), 'LIMIT', 0, STALE)) do
    redis.call('ZREM', k.keysgone(ws), id)
    redis.call('ZREM', k.keys(ws), id)
    redis.call('DEL', k.key(id))
  end
end

-- When a key ends (ms; 0: it does not), and so when its record goes.
local function key_ends(ws, id, ends, kept_ms)
  if ends > 0 then
    local gone = fmt(ends + (kept_ms or KEPT_MS))
    redis.call('ZADD', k.keysgone(ws), gone, id)
    redis.call('PEXPIREAT', k.key(id), gone)
  else
    redis.call('ZREM', k.keysgone(ws), id)
    redis.call('PERSIST', k.key(id))
  end
end
