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
