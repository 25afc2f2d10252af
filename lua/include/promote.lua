-- promote_due(now, queue, limit): what is due moves to the tail of its lane, oldest first, at most `limit` a lane.
-- Returns how many moved, and when the next one is due (nil: none is scheduled). Each move is whole by itself.
local function promote_due(now, queue, limit)
  local moved, next_due = 0, nil
  for _, lane in ipairs(LANES) do
    local scheduled = scheduled_key(queue, lane)
    local first = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')
    if first[2] and tonumber(first[2]) <= now then
      local ids = redis.call('ZRANGEBYSCORE', scheduled, '-inf', now, 'LIMIT', 0, limit)
      redis.call('RPUSH', ready_key(queue, lane), unpack(ids))
      redis.call('ZREM', scheduled, unpack(ids))
      moved = moved + #ids
      first = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')
    end
    if first[2] then next_due = math.min(next_due or math.huge, tonumber(first[2])) end
  end
  return moved, next_due
end
