-- How claim_typed chooses: it takes what its caller can begin now, and sets aside what it meets and cannot begin. Needs
-- the head of claim, and naming. The jobs of one type keep their order, since a job of the lane goes behind those of its
-- type that were set aside before.
local MAX_REFUSED, MAX_TURNED = 100, 32
local room, others, wanted = args[13], args[14], args[15]
local refused, set_aside, turned = 0, 0, 0
-- other_types: the entry for each type that no entry of room names. The limit bounds it in any case.
local other_types, entry_of = {math.huge}, {}
for _, entry in ipairs(room) do
  for _, type in ipairs(entry[2]) do entry_of[type] = entry end
end
if #room > 0 and not others then
  other_types[1] = 0
  local all = 0
  for _, entry in ipairs(room) do all = all + entry[1] end
  limit = math.min(limit, all)
end

-- here: the lane that take() claims from; source: one of its lists, nil for the lane itself.
local lanes, here, source = {}, nil, nil

local function enter(queue, lane)
  local ready = ready_key(queue, lane)
  here = lanes[ready]
  if not here then
    here = {queue = queue, lane = lane, types = {}, lists = {{list = ready}}}
    lanes[ready] = here
  end
  return here
end

-- type_record(type): what this call knows of a type in the lane.
local function type_record(type)
  local record = here.types[type]
  if not record then
    record = {type = type, entry = entry_of[type] or other_types}
    record.named = type ~= '' and is_named(here.queue, here.lane, type)
    here.types[type] = record
  end
  return record
end

for _, queue in ipairs(queues) do names_of(queue, settings[queue][7]) end
for _, queue in ipairs(open) do
  local text = settings[queue][7]
  for _, place in ipairs(text and wanted[queue] or {}) do
    local lane, type = place[1], place[2]
    enter(queue, lane)
    local record, list = type_record(type), aside_key(queue, lane, type)
    record.taken = true
    if type == SUSPECTS then record.entry = isolating end
    local first = (type == REST or record.entry[1] > 0) and redis.call('LINDEX', list, 0)
    if first then
      record.list, record.offset, record.made = list, 0, string.sub(first, 3, 12)
      lengths[list], tombstones[list] = math.huge, tombstones[ready_key(queue, lane)]
      here.lists[#here.lists + 1] = record
    end
  end
end

-- has_more(record): whether its list has jobs that this call has not consumed.
local function has_more(record)
  local list = record.list
  if not list then return false end
  if lengths[list] == math.huge then lengths[list] = redis.call('LLEN', list) end
  return lengths[list] > (consumed[list] or 0)
end

-- known_type(definition): type_of, remembered for the next job: most jobs of a lane have headers of one length.
local last_text, last_end, last_type = nil, 0, nil
local function known_type(definition)
  if last_text and string.sub(definition, 16, last_end) == last_text then return last_type end
  last_type = type_of(definition)
  local start = string.find(definition, '\n{"type":"', 1, true)
  last_end = start and start + 10 + #last_type
  last_text = start and string.sub(definition, 16, last_end)
  return last_type
end

-- move_to(record, id): the job goes to the tail of the list of its type.
local function move_to(record, id)
  if not record.target then
    local queue, lane = here.queue, here.lane
    local type = list_for(queue, lane, record.type, entry_of[record.type] ~= nil)
    if not type then return false end
    record.named = type == record.type
    record.target = aside_key(queue, lane, type)
    wake_type(queue, type)
  end
  moved[id] = true
  rpush(record.target, id)
  return true
end

-- refuse(record, id): the job is set aside. While nothing may be set aside, it is delayed as suspects are.
local function refuse(record, id)
  refused, skipped = refused + 1, skipped + 1
  if move_to(record, id) then
    set_aside = set_aside + 1
  else
    local due = now + defer_ms + refused * 37 % 500
    moved[id] = true
    zadd(scheduled_key(here.queue, here.lane), due, id)
    wake(here.queue)
    next_due = math.min(next_due or math.huge, due)
  end
  return nil, 'moved'
end

-- from_rest(record, id): as may_begin, for an entry of the list '*'. What cannot begin goes to its tail, or to the list of
-- its type if there is one by now.
local function from_rest(record, id)
  if not record.named then
    if entry_of[record.type] and not record.is_new then
      record.is_new = add_name(here.queue, here.lane, record.type, MAX_NAMES)
    end
    if record.entry[1] > 0 then return record.entry end
  end
  if turned >= MAX_TURNED then return nil, 'no_room' end
  turned, skipped = turned + 1, skipped + 1
  move_to(record, id)
  return nil, 'moved'
end

-- knows(type): whether the worker has a handler for the type, though perhaps no room now.
local function knows(type) return entry_of[type] ~= nil or other_types[1] > 0 end

-- of_suspect(id, record): as may_begin, for an entry of the list '!'. What the worker does not know, or cannot begin now, goes
-- to its tail. A child process of its own has no room of its own: a type may be limited to a number of jobs.
local function of_suspect(id, record)
  if record.entry[1] > 0 then return record.entry end
  if turned >= MAX_TURNED then return nil, 'no_room' end
  turned, skipped = turned + 1, skipped + 1
  moved[id] = true
  rpush(source.list, id)
  return nil, 'moved'
end

-- from_type(definition): as may_begin, for an entry of the list of one type. The entry may be the tombstone of a job whose
-- id was enqueued again with another type.
local function from_type(definition)
  if tombstones[source.list] > 0 and known_type(definition) ~= source.type then return nil, 'skipped' end
  return source.entry
end

-- may_begin(id, definition): returns the entry of room that the job counts against; or nil, and the outcome for examine.
local function may_begin(id, definition)
  if source and source.type ~= REST then
    if source.entry[1] <= 0 then return nil, 'no_room' end
    if source.type == SUSPECTS then return of_suspect(id, type_record(known_type(definition))) end
    return from_type(definition)
  end
  local record = type_record(known_type(definition))
  if source then return from_rest(record, id) end
  local is_first = not record.named or (record.taken and not record.target and not has_more(record))
  if is_first and record.entry[1] > 0 then return record.entry end
  return refuse(record, id)
end

-- oldest(lists, passed): the number of the list whose head was made first; an id has its time behind two characters. The
-- lane is the last of equals, since it sets aside what a list has too.
local function oldest(lists, passed)
  local first, made = nil, nil
  for i, record in ipairs(lists) do
    if not passed[i] and (not record.entry or record.type == REST or record.entry[1] > 0) then
      local offset = consumed[record.list] or 0
      if record.offset ~= offset then
        local id = redis.call('LINDEX', record.list, offset)
        record.offset, record.made = offset, id and string.sub(id, 3, 12)
      end
      if record.made and (not made or record.made <= made) then first, made = i, record.made end
    end
  end
  return first
end

-- from_lists(take): returns a function as `take` that claims from the lists of the lane too, a chunk at a time.
local function from_lists(take)
  return function(queue, lane, most, ready_before)
    local lists, passed, taken = enter(queue, lane).lists, {}, 0
    source = nil
    if #lists == 1 then return take(queue, lane, most, ready_before) end
    while taken < most and not stopped do
      local first = oldest(lists, passed)
      if not first then break end
      local record = lists[first]
      source = first > 1 and record or nil
      local got, stays = take(queue, lane, math.min(CHUNK, most - taken), ready_before)
      taken = taken + got
      if stays or (consumed[record.list] or 0) == record.offset then passed[first] = true end
    end
    return taken
  end
end

-- lists_taken(queue, lane): how many lists this call may claim from, besides the lane.
local function lists_taken(queue, lane) return #enter(queue, lane).lists - 1 end

-- lists_have_more(): whether they have jobs left that the caller can begin.
local function lists_have_more()
  for _, each in pairs(lanes) do
    for i = 2, #each.lists do
      local record = each.lists[i]
      if record.type ~= REST and record.entry[1] > 0 and has_more(record) then return true end
    end
  end
  return false
end

-- names_to_tell(): the names of all queues that have some, for the reply. Paused queues too: the caller has to wait for the
-- markers of their types.
local function names_to_tell()
  local told = nil
  for _, queue in ipairs(queues) do
    local text = names_of(queue).text
    if text ~= ' ' then
      told = told or {}
      told[#told + 1] = {queue, string.sub(text, 1, -2)}
    end
  end
  return told
end
