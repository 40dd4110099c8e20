-- Agent definitions, shared by digest and counted: one that nothing uses any more is removed.
local function def_ref(digest, fields)
  if redis.call('HINCRBY', k.def(digest), 'refs', 1) == 1 and #fields > 0 then
    redis.call('HSET', k.def(digest), unpack(fields))
  end
end

local function def_unref(digest)
  if redis.call('HINCRBY', k.def(digest), 'refs', -1) <= 0 then
    redis.call('DEL', k.def(digest))
  end
end
