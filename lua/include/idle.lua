-- told_names(): the names of all queues that have some, for the reply. Paused queues too: the caller has to wait for the
-- markers of their types.
local function told_names()
  local told = nil
  for _, queue in ipairs(queues) do
    local names = settings[queue][7]
    if names then
      told = told or {}
      told[#told + 1] = {queue, names}
    end
  end
  return told
end

-- put_back_markers(): the caller took these markers, but may leave jobs of these types to others. Lists that this call has
-- named have their marker in any case.
local function put_back_markers()
  for _, queue in ipairs(open) do
    for _, type in ipairs(settings[queue][7] and args[16] or {}) do
      local lists = {}
      for i, lane in ipairs(LANES) do lists[i] = aside_key(queue, lane, type) end
      if redis.call('EXISTS', unpack(lists)) > 0 then redis.call('ZADD', wake_type_key(queue, type), 0, 'm') end
    end
  end
end

-- lists_to_take(queue): the keys of the lists set aside to claim from; nil if the queue has no names.
local keys_to_take = {}
local function lists_to_take(queue)
  local keys = keys_to_take[queue]
  if not keys and settings[queue][7] then
    keys = {}
    for i, place in ipairs(args[15][queue] or {}) do keys[i] = aside_key(queue, place[1], place[2]) end
    keys_to_take[queue] = keys
  end
  return keys
end

-- The idle way of claim_typed: nothing can be claimed, and nothing has to be written. It makes none of the functions of the
-- general way, which take more than the rest of such a call. Suspects, and a worker that runs one alone, are left to that.
if not before and not alone and #args[16] == 0 then
  local is_idle, next_due = true, nil
  for _, queue in ipairs(open) do
    local scheduled, lists, names = {}, lists_to_take(queue) or {}, settings[queue][7]
    if names and string.find(names, ':!', 1, true) then is_idle = false end
    for i, lane in ipairs(LANES) do
      if lengths[ready_key(queue, lane)] > 0 then is_idle = false end
      scheduled[i] = scheduled_key(queue, lane)
    end
    is_idle = is_idle and (#lists == 0 or redis.call('EXISTS', unpack(lists)) == 0)
    if not is_idle then break end
    if redis.call('EXISTS', unpack(scheduled)) > 0 then
      for _, key in ipairs(scheduled) do
        local due = tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
        if due then next_due = math.min(next_due or math.huge, due) end
      end
      is_idle = next_due > now
      if not is_idle then break end
    end
  end
  if is_idle then
    return cmsgpack.pack({{}, next_due and next_due - now or -1, false, false, {}, {}, {}, {}, false, told_names()})
  end
end
