-- Bundles: the code of agents, an archive in chunks, named by the SHA-256 of its bytes. Uses def.lua.
local function bundle_drop_chunks(ws, hex, chunks)
  local names = {}
  for n = 0, chunks - 1 do
    names[n + 1] = k.bundle_chunk(ws, hex, fmt(n))
  end
  if chunks > 0 then
    redis.call('UNLINK', unpack(names))
  end
end

local function bundle_remove(ws, hex)
  local known = redis.call('HMGET', k.bundle(ws, hex), 'bytes', 'chunks')
  bundle_drop_chunks(ws, hex, tonumber(known[2] or '0'))
  redis.call('UNLINK', k.bundle(ws, hex))
  redis.call('ZREM', k.bundles(ws), hex)
  redis.call('ZREM', k.bundledue, ws .. ':' .. hex)
  if known[1] then
    add_count(k.use(ws), 'bytes', '-' .. known[1])
  end
end
