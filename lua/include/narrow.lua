-- Whether a word stands in the comma list that a key is narrowed to; '' is no narrowing.
local function listed(list, word)
  return list == '' or (word ~= '' and string.find(',' .. list .. ',', ',' .. word .. ',', 1, true) ~= nil)
end
