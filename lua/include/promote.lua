-- promote_due(now, queue, limit, promoted): the jobs that are due move to the tail of their lane, oldest first, at most
-- `limit` a lane. Returns how many moved, and when the next one is due (nil: none is scheduled). Each move is complete
-- by itself. `promoted`: a list that gets the ids of the jobs that moved; nil when they are not needed.
local function promote_due(now, queue, limit, promoted)
  local moved, next_due = 0, nil
  for _, lane in ipairs(LANES) do
    local scheduled = scheduled_key(queue, lane)
    local first = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')
    if first[2] and tonumber(first[2]) <= now then
      local ids = redis.call('ZRANGEBYSCORE', scheduled, '-inf', now, 'LIMIT', 0, limit)
      redis.call('RPUSH', ready_key(queue, lane), unpack(ids))
      redis.call('ZREM', scheduled, unpack(ids))
      moved = moved + #ids
      if promoted then
        for _, id in ipairs(ids) do promoted[#promoted + 1] = id end
      end
      first = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')
    end
    if first[2] then next_due = math.min(next_due or math.huge, tonumber(first[2])) end
  end
  return moved, next_due
end

-- first_due(): when the first scheduled job of the open queues is due, in ms; nil if there is none. Needs the head of claim.
local function first_due()
  local scheduled, due = {}, nil
  for _, queue in ipairs(open) do
    for _, lane in ipairs(LANES) do scheduled[#scheduled + 1] = scheduled_key(queue, lane) end
  end
  if #open == 0 or redis.call('EXISTS', unpack(scheduled)) == 0 then return nil end
  for _, key in ipairs(scheduled) do
    local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    if first[2] then due = math.min(due or math.huge, tonumber(first[2])) end
  end
  return due
end
