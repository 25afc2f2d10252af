-- Names for lists set aside. Needs keys, writes, features, and LETTER_OF of asides.
-- Each name costs each claim a little, and clients may invent types. So at most 32 types of a queue get a list through
-- workers that do not know them, and at most 64 in all. Jobs of further types stand in one list a lane, '*', which has
-- no order.
local MAX_NAMES, MAX_UNKNOWN, REST, SUSPECTS = 64, 32, '*', '!'
local names_by_queue, gate_is_open = {}, nil

-- names_of(queue, text): the names of a queue. `text`: its field `aside` if the script has read it already.
local function names_of(queue, text)
  local names = names_by_queue[queue]
  if not names then
    if text == nil then text = redis.call('HGET', queue_key(queue), 'aside') end
    names = {text = (text or '') .. ' ', is_new = false}
    names_by_queue[queue] = names
  end
  return names
end

local function is_named(queue, lane, type)
  return string.find(names_of(queue).text, ' ' .. LETTER_OF[lane] .. ':' .. type .. ' ', 1, true) ~= nil
end

-- may_set_aside(): whether the shard may hold lists set aside, which older replicas would lose.
local function may_set_aside()
  if gate_is_open == nil then gate_is_open = is_open('aside') end
  return gate_is_open
end

-- add_name(queue, lane, type, most): names the list, unless the queue has `most` names of types. Returns whether it did.
local function add_name(queue, lane, type, most)
  local names = names_of(queue)
  if type ~= REST and type ~= SUSPECTS then
    local _, all = string.gsub(names.text, '%S+', '')
    local _, rests = string.gsub(names.text, ':[*!]', '')
    if all - rests >= most then return false end
  end
  names.text, names.is_new = names.text .. LETTER_OF[lane] .. ':' .. type .. ' ', true
  return true
end

-- list_for(queue, lane, type, known): returns the type of the list to which a job is to be set aside, and gives the list
-- a name; nil if nothing may be set aside yet. known: whether the caller knows the type.
local function list_for(queue, lane, type, known)
  if type ~= '' and is_named(queue, lane, type) then return type end
  if not may_set_aside() then return nil end
  if type ~= '' and add_name(queue, lane, type, known and MAX_NAMES or MAX_UNKNOWN) then return type end
  if not is_named(queue, lane, REST) then add_name(queue, lane, REST) end
  return REST
end

-- wake_type(queue, type): puts the marker that wakes one idle replica which knows the type. The list '*' has none, and the
-- list '!' has that of the queue.
local function wake_type(queue, type)
  if type == SUSPECTS then wake(queue) elseif type ~= REST then writes.wake[queue .. ':' .. type] = true end
end

-- set_suspect_aside(queue, lane, id): has a waiting job wait in the list '!' of suspects: jobs with two crashes or more, of
-- any type, that may kill the worker that runs them.
local function set_suspect_aside(queue, lane, id)
  if not is_named(queue, lane, SUSPECTS) then add_name(queue, lane, SUSPECTS) end
  rpush(aside_key(queue, lane, SUSPECTS), id)
  wake(queue)
end

-- write_names(): keeps the new names, and publishes them: a replica that knows such a type may wait for other markers.
local function write_names()
  for queue, names in pairs(names_by_queue) do
    if names.is_new then
      local text = string.sub(names.text, 1, -2)
      redis.call('HSET', queue_key(queue), 'aside', text)
      redis.call('PUBLISH', asides_channel(), asides_message(queue, text))
    end
  end
end
