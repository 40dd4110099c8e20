-- What the runs that this one depended on ended with, for its agent: a JSON array; results in full as long as they fit.
local RESULTS_MAX = 1048576

local function dependencies_of(ids)
  local out, size = {}, 0
  for _, id in ipairs(split(ids)) do
    local dep = redis.call('HMGET', k.run(id), 'status', 'result', 'error')
    local text = '{"runId":"' .. id .. '","status":' .. (dep[1] and '"' .. dep[1] .. '"' or 'null')
    if dep[2] and size + #dep[2] <= RESULTS_MAX then
      size = size + #dep[2]
      text = text .. ',"result":' .. dep[2]
    elseif dep[2] then
      text = text .. ',"resultTruncated":true'
    end
    if dep[3] then
      text = text .. ',"error":' .. dep[3]
    end
    out[#out + 1] = text .. '}'
  end
  return '[' .. table.concat(out, ',') .. ']'
end
