-- onLimit=replace: a newcomer stops the oldest ones under its key, so that it has a place as soon as they are gone.
local REPLACED = 24 -- most runs looked at of those that hold the gate, and of those that wait at it

-- For a run (gates, onLimit, attempt) that is about to ask for its first gate. One that comes back for a retry is no newcomer: who came meanwhile is newer.
local function replace_others(run, rid, retention_ms)
  if run.onLimit ~= 'replace' or run.gates == '' or (tonumber(run.attempt) or 0) > 0 then
    return
  end
  local g = gate_parse(split(run.gates)[1])
  local others, over = {}, 1 - g.limit
  for _, key in ipairs({k.gate(run.ws, g.name), k.wait(run.ws, g.name)}) do
    over = over + redis.call('ZCARD', key)
    for _, id in ipairs(redis.call('ZRANGE', key, 0, REPLACED - 1)) do
      local other = run_get(id, CLOSE_FIELDS)
      if other and other.stopAt == '' then
        others[#others + 1] = id
      else
        over = over - 1 -- it goes already
      end
    end
  end
  for i = 1, math.min(over, #others) do
    stop_one(run_get(others[i], CLOSE_FIELDS), rid, retention_ms) -- read again: the one before may have let it in
    if redis.call('EXISTS', k.children(others[i])) == 1 then
      redis.call('HSET', k.stopq, others[i], '-1')
    end
  end
end
