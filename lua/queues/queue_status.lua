#!lua flags=no-writes
--[=[ queue_status: the pauses of queues, and how long the first job of each has been ready.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, [queue, ...]]
Reply    msgpack [[known, by, at, ready_for], ...], one per queue; known: whether this shard has the queue
         by: '' = unknown; at: in ms, 0 = not paused
         ready_for: for how many ms the job that has waited longest has been ready, -1 = no job is ready; the script
         looks at the head of each lane and skips up to 100 tombstones; it looks at the head of each list set aside,
         and skips up to 100 tombstones in all of these
Errors   only those of the store ]=]
--@include now
--@include keys
--@include state
--@include asides: LANE_OF asides_of lists_of
local LOOK = 100
local args = cmsgpack.unpack(ARGV[1])
local now = now_ms(args[1])

-- ready_since(list, queue, lane, skip): returns a time in ms, nil when no job is ready there, or only tombstones were found;
-- and how many tombstones it skipped, of `skip` at most.
local function ready_since(list, queue, lane, skip)
  local ids = redis.call('LRANGE', list, 0, skip)
  for i, id in ipairs(ids) do
    local definition = redis.call('GETRANGE', job_key(id), 0, 1023)
    local text = redis.call('GETRANGE', state_key(id), 0, 1023)
    local fields = parse_fields(text ~= '' and text or definition)
    if definition ~= '' and (fields.s or 'w') == 'w' and queue_of(fields) == queue and lane_of(fields) == lane
      and not redis.call('ZSCORE', scheduled_key(queue, lane), id) then
      return tonumber(fields.r or parse_fields(definition).r or now), i - 1
    end
  end
  return nil, math.min(#ids, skip)
end

-- ready_first(queue, lists): returns the time since which the first job of the queue has been ready, math.huge = none is.
local function ready_first(queue, lists)
  local first, left = math.huge, LOOK
  for _, lane in ipairs(LANES) do
    for n, list in ipairs(lists[lane]) do
      local since, skipped = ready_since(list[1], queue, lane, n == 1 and LOOK or left)
      if n > 1 then left = left - skipped end
      first = math.min(first, since or math.huge)
    end
  end
  return first
end

local rows = {}
for i, queue in ipairs(args[2]) do
  local fields = redis.call('HMGET', queue_key(queue), 'paused_by', 'paused_at', 'aside')
  local since = ready_first(queue, lists_of(queue, fields[3]))
  local ready_for = since == math.huge and -1 or math.max(0, now - since)
  local known = redis.call('SISMEMBER', queues_key, queue) == 1
  rows[i] = {known, fields[1] or '', tonumber(fields[2] or 0), ready_for}
end
return cmsgpack.pack(rows)
