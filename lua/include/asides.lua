-- Lists set aside: aside:<queue>:<lane>:<type> has ids of waiting jobs of one type, which were taken out of the lane since
-- a worker that met them could not begin them. A job there is queued in every respect.
-- The field `aside` of queue:<queue> names the lists, as ' <lane's first letter>:<type>' each. A name may outlive its list.
local LETTER_OF = {high = 'h', default = 'd', low = 'l'}
local LANE_OF = {h = 'high', d = 'default', l = 'low'}

-- asides_of(text): returns [{lane, type}, ...] for the field `aside` of a queue; text: false = it has none.
local function asides_of(text)
  local found = {}
  for letter, type in string.gmatch(text or '', '(%l):(%S+)') do found[#found + 1] = {LANE_OF[letter], type} end
  return found
end

-- lists_of(queue, text): returns lane -> [{key, type}, ...]: every list that has queued jobs of the lane. The first is the
-- lane itself, with the type ''. Those set aside follow, and share its count of tombstones. `text` as for asides_of.
local function lists_of(queue, text)
  local lists = {}
  for _, lane in ipairs(LANES) do lists[lane] = {{ready_key(queue, lane), ''}} end
  for _, aside in ipairs(asides_of(text)) do
    local of_lane = lists[aside[1]]
    of_lane[#of_lane + 1] = {aside_key(queue, aside[1], aside[2]), aside[2]}
  end
  return lists
end

-- type_of(definition): its type, with which its body begins; '' for another text.
local function type_of(definition)
  local at = string.find(definition, '\n{"type":"', 1, true)
  local stop = at and string.find(definition, '"', at + 10, true)
  return stop and string.sub(definition, at + 10, stop - 1) or ''
end

-- may_have(name, type): whether the list of this name may have jobs of the type; '' = the lane, '!' = suspects.
local function may_have(name, type) return name == type or name == '' or name == '*' or name == '!' end
