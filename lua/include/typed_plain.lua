-- The plain way of claim_typed. As that of claim, it claims jobs for the first time, from queues with jobs in one lane only,
-- without tombstones. It claims from lists set aside too, and sets jobs aside whose type has a list. The general way does
-- the same with a function for each thing, and reads every state. Needs the head of claim, fast_path and counters.
local MOST_PLAIN, MOST_ASIDE = 1000, 100

-- new_plan(): what the caller wants, with a counter of its own for each entry of room, and nothing planned yet.
local function new_plan()
  local plan = {limit = limit, entry_of = {}, other = {math.huge}, seen = {}, texts = {}, ids = {}, definitions = {},
    states = {}, bytes = 0, aside_count = 0, stopped = false, start = first_start(claim_id, now, worker), heads = {}, places = {},
    lane = false, expires = string.format('%d', now + lease_ms)}
  local all = 0
  for _, each in ipairs(args[13]) do
    local entry = {each[1]}
    all = all + each[1]
    for _, type in ipairs(each[2]) do plan.entry_of[type] = entry end
  end
  if #args[13] > 0 and not args[14] then plan.limit, plan.other = math.min(limit, all), {0} end
  return plan
end

-- find_lane(plan): finds the lane that has all jobs of the open queues and of the lists to claim from. Returns false if
-- several have some, or if the general way is needed: for tombstones, suspects, and jobs of any type.
local function find_lane(plan)
  for _, queue in ipairs(open) do
    local names, heads = settings[queue][7], {}
    if plan.heads[queue] or names and string.find(names, ':!', 1, true) then return false end
    plan.heads[queue] = heads
    for _, lane in ipairs(LANES) do
      local list = ready_key(queue, lane)
      if tombstones[list] > 0 or lengths[list] > 0 and plan.lane and plan.lane ~= lane then return false end
      if lengths[list] > 0 then plan.lane = lane end
    end
    local lists = lists_to_take(queue)
    for i, each in ipairs(lists and args[15][queue] or {}) do
      if each[2] == '*' then return false end
      local has_room = (plan.entry_of[each[2]] or plan.other)[1] > 0
      heads[i] = has_room and redis.call('LINDEX', lists[i], 0)
      if heads[i] and plan.lane and plan.lane ~= each[1] then return false end
      if heads[i] then plan.lane = each[1] end
    end
  end
  plan.lane = plan.lane or 'default'
  return true
end

-- new_place(plan, queue): the lists of the lane to claim from, that of the lane first. `taken` has the source of each type
-- from whose list the call claims, true if it has no job that can begin. Returns nil if a list is there twice.
local function new_place(plan, queue)
  local ready, lists, heads = ready_key(queue, plan.lane), lists_to_take(queue), plan.heads[queue]
  local first = {list = ready, offset = 0, made = lengths[ready] > 0 and '', entry = false}
  local place = {name = queue, sources = {first}, taken = {}, types = {}, leases = {}}
  for i, each in ipairs(lists and args[15][queue] or {}) do
    local type, taken = each[2], true
    if each[1] == plan.lane then
      if place.taken[type] then return nil end
      if heads[i] then
        local entry = plan.entry_of[type] or plan.other
        taken = {list = lists[i], offset = 0, made = string.sub(heads[i], 3, 12), entry = entry}
        place.sources[#place.sources + 1] = taken
      end
      place.taken[type] = taken
    end
  end
  if #place.sources > 1 and first.made then first.made = string.sub(redis.call('LINDEX', ready, 0), 3, 12) end
  plan.places[#plan.places + 1] = place
  return place
end

-- new_record(plan, place, type): what the call knows of a type that it has met in the lane.
local function new_record(plan, place, type)
  local record = {entry = plan.entry_of[type] or plan.other, taken = place.taken[type] or false, named = false, moved = false}
  local names = settings[place.name][7]
  if names and type ~= '' then
    local name = ' ' .. string.sub(plan.lane, 1, 1) .. ':' .. type .. ' '
    record.named = string.find(names .. ' ', name, 1, true) ~= nil
  end
  place.types[type] = record
  return record
end

-- entry_for(plan, place, source, id, definition): the entry of room that the job counts against; false if it is set aside.
-- Returns nil if something else has to be looked at.
local function entry_for(plan, place, source, id, definition)
  if not definition or plan.seen[id] then return nil end
  local fields = fields_after_r(definition)
  local texts = plan.texts[fields]
  if not texts then
    if string.find(fields, ' [xU]=') then return nil end
    texts = {}
    plan.texts[fields] = texts
  end
  plan.seen[id], plan.bytes = texts, plan.bytes + #definition
  if source.entry then return source.entry end
  local type = string.match(definition, '^\n{"type":"([^"]*)"', 16 + #fields) or type_of(definition)
  local record = place.types[type] or new_record(plan, place, type)
  local taken = record.taken
  local is_first = not record.named or taken and not record.moved and (taken == true or not taken.made)
  if is_first and record.entry[1] > 0 then return record.entry end
  if not record.named then return nil end
  record.moved = record.moved or {}
  record.moved[#record.moved + 1] = id
  plan.aside_count = plan.aside_count + 1
  return false
end

-- plan_claim(plan, place, id, definition): the job is claimed.
local function plan_claim(plan, place, id, definition)
  local texts, size, count, leases = plan.seen[id], #definition, #plan.ids + 1, place.leases
  local text = texts[size]
  if not text then
    text = first_state(plan.start, definition)
    texts[size] = text
  end
  plan.ids[count], plan.definitions[count] = id, definition
  plan.states[2 * count - 1], plan.states[2 * count] = state_key(id), text
  leases[#leases + 1] = plan.expires
  leases[#leases + 1] = id
end

-- read_list(plan, place, source, most): plans up to `most` jobs from the head of a list. Returns how many; nil if something
-- else has to be looked at.
local function read_list(plan, place, source, most)
  local taken = 0
  while taken < most and source.made and not plan.stopped do
    local room = source.entry and source.entry[1] or math.max(most, plan.aside_count)
    local want = math.min(CHUNK, room, source.entry and most - taken or CHUNK)
    if want < 1 then break end
    local ids, keys, done = redis.call('LRANGE', source.list, source.offset, source.offset + want), {}, 0
    for i = 1, math.min(#ids, want) do keys[i] = job_key(ids[i]) end
    local definitions = redis.call('MGET', unpack(keys))
    for i = 1, #keys do
      if taken >= most then break end
      if plan.bytes >= max_bytes or plan.aside_count >= MOST_ASIDE then plan.stopped = true; break end
      local entry = entry_for(plan, place, source, ids[i], definitions[i])
      if entry == nil then return nil end
      if entry then
        entry[1], taken = entry[1] - 1, taken + 1
        plan_claim(plan, place, ids[i], definitions[i])
      end
      done = i
    end
    source.offset, source.made = source.offset + done, ids[done + 1] and string.sub(ids[done + 1], 3, 12)
  end
  return taken
end

-- next_source(sources): the list with room whose head was made first; the last of equals.
local function next_source(sources)
  local first = nil
  for _, source in ipairs(sources) do
    local may = source.made and not source.passed and (not source.entry or source.entry[1] > 0)
    if may and (not first or source.made <= first.made) then first = source end
  end
  return first
end

-- read_place(plan, place): plans jobs of one queue, up to the limit: from the lane, and from its lists. Returns false if
-- something else has to be looked at.
local function read_place(plan, place)
  local sources = place.sources
  for _ = 1, 2 * MOST_PLAIN do
    local left = plan.limit - #plan.ids
    local source = left > 0 and not plan.stopped and next_source(sources)
    if not source then break end
    local offset, taken = source.offset, read_list(plan, place, source, sources[2] and math.min(CHUNK, left) or left)
    if not taken then return false end
    source.passed = source.offset == offset
  end
  return true
end

-- write_place(plan, place): takes the planned jobs from their lists, and returns whether the caller can claim more of them.
local function write_place(plan, place)
  if #place.leases > 0 then redis.call('ZADD', leases_key(place.name), unpack(place.leases)) end
  for type, record in pairs(place.types) do
    if record.moved then
      redis.call('RPUSH', aside_key(place.name, plan.lane, type), unpack(record.moved))
      redis.call('ZADD', wake_type_key(place.name, type), 0, 'm')
    end
  end
  local has_more = false
  for i, source in ipairs(place.sources) do
    if source.offset > 0 then redis.call('LPOP', source.list, source.offset) end
    local is_left = i == 1 and lengths[source.list] > source.offset or i > 1 and source.made and source.entry[1] > 0
    if is_left and (plan.stopped or #plan.ids >= plan.limit) then
      has_more = true
      if i == 1 then redis.call('ZADD', wake_key(place.name), 0, 'm') end
    end
  end
  return has_more
end

-- claim_plain_typed(): returns the reply, or false if something else has to be looked at; then it has written nothing.
local function claim_plain_typed()
  if before or alone or limit < 1 or limit > MOST_PLAIN then return false end
  local plan = new_plan()
  if plan.limit < 1 or not find_lane(plan) then return false end
  local next_due, has_more = first_due(), false
  if next_due and next_due <= now then return false end
  for _, queue in ipairs(open) do
    local place = new_place(plan, queue)
    if not place or not read_place(plan, place) then return false end
  end
  -- The last check and the first write: none of the jobs has a state.
  local ids, writes = plan.ids, plan.states
  if #ids > 0 and redis.call('MSETNX', unpack(writes)) == 0 then return false end
  for _, place in ipairs(plan.places) do has_more = write_place(plan, place) or has_more end
  if #ids > 0 then
    add_count(now, 'claimed', #ids)
    redis.call('SET', claim_key(claim_id), table.concat(ids, ' '), 'PX', math.max(1, lease_ms))
  end
  if plan.aside_count > 0 then add_count(now, 'set_aside', plan.aside_count) end
  put_back_markers()
  return {{}, next_due and next_due - now or -1, has_more, false, {}, {}, ids, plan.definitions, false, told_names()}
end
local plain_typed = claim_plain_typed()
if plain_typed then return cmsgpack.pack(plain_typed) end
