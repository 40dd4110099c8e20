-- What a runner can serve. A requirement is sorted words: `@executor=NAME` where it is not process, `@slots=N` where one run takes more than one, `@needs=CAPABILITY` for what the executor must enforce, and tags.

local comma_lists -- as they were given → for plain finding: the same ones are asked for again and again
-- EACH CALL
comma_lists = {}

-- Whether a runner (executors, tags and what its executors enforce as comma lists, slots) has what a requirement asks for.
local function req_met(text, executors, tags, enforces, slots)
  local function has(list, word)
    comma_lists[list] = comma_lists[list] or ',' .. string.gsub(list, '%s', '') .. ','
    return string.find(comma_lists[list], ',' .. word .. ',', 1, true) ~= nil
  end
  local executor, needs = 'process', {}
  for _, word in ipairs(split(text)) do
    local name, value = string.match(word, '^@(%a+)=(.*)$')
    if name == 'executor' then
      executor = value
    elseif name == 'slots' then
      if tonumber(value) > slots then
        return false
      end
    elseif name == 'needs' then
      needs[#needs + 1] = value
    elseif not has(tags, word) then
      return false
    end
  end
  for _, capability in ipairs(needs) do
    if not has(enforces, executor .. ':' .. capability) then
      return false
    end
  end
  return has(executors, executor)
end

-- How many slots one run of a requirement takes.
local function req_slots(text)
  return tonumber(string.match(text, '@slots=(%d+)') or '1')
end
