-- The idle way of claim_typed: nothing can be claimed, and nothing has to be written. It makes none of the functions of the
-- general way, which take more than the rest of such a call.
if not before and #args[16] == 0 then
  local is_idle, next_due = true, nil
  for _, queue in ipairs(open) do
    local scheduled, lists, names = {}, {}, settings[queue][7]
    -- Suspects, and a worker that runs one alone, are looked at in any case.
    if alone or names and string.find(names, ':!', 1, true) then is_idle = false end
    for i, lane in ipairs(LANES) do
      if lengths[ready_key(queue, lane)] > 0 then is_idle = false end
      scheduled[i] = scheduled_key(queue, lane)
    end
    for i, place in ipairs(names and args[15][queue] or {}) do
      lists[i] = aside_key(queue, place[1], place[2])
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
    local told = nil
    for _, queue in ipairs(queues) do
      local names = settings[queue][7]
      if names then
        told = told or {}
        told[#told + 1] = {queue, names}
      end
    end
    return cmsgpack.pack({{}, next_due and next_due - now or -1, false, false, {}, {}, {}, {}, false, told})
  end
end
