#!lua flags=no-writes
--[=[ queue_status: the pauses of queues, and how long the first job of each has been ready.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, [queue, ...]]
Reply    msgpack [[known, by, at, ready_for, in_lanes, [[type, ready_for], ...], asked], ...], one per queue
         known: whether this shard has the queue
         by: '' = unknown; at: in ms, 0 = not paused
         ready_for: for how many ms the job that has waited longest has been ready, -1 = no job is ready; the script
         looks at the head of each lane and skips up to 100 tombstones; it looks at the head of each list set aside,
         and skips up to 100 tombstones in all of these. in_lanes: the same without the lists set aside; the pairs have
         it for each type that has a ready job there
         asked: how many ms ago a worker that takes every type last asked for jobs of the queue, -1 = not known
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

-- ready_first(queue, lists): returns {[type] = the time since which its first job has been ready}, with the type '' for the
-- lanes, and the types with lists set aside in their order.
local function ready_first(queue, lists)
  local first, types, left = {}, {}, LOOK
  for _, lane in ipairs(LANES) do
    for n, list in ipairs(lists[lane]) do
      local since, skipped = ready_since(list[1], queue, lane, n == 1 and LOOK or left)
      if n > 1 then left = left - skipped end
      if since and n > 1 and not first[list[2]] then types[#types + 1] = list[2] end
      if since then first[list[2]] = math.min(first[list[2]] or since, since) end
    end
  end
  return first, types
end

local function ready_for(since) return since and math.max(0, now - since) or -1 end

local rows = {}
for i, queue in ipairs(args[2]) do
  local fields = redis.call('HMGET', queue_key(queue), 'paused_by', 'paused_at', 'aside', 'asked')
  local first, types = ready_first(queue, lists_of(queue, fields[3]))
  local in_lanes, longest = ready_for(first['']), ready_for(first[''])
  for n, type in ipairs(types) do
    types[n] = {type, ready_for(first[type])}
    longest = math.max(longest, types[n][2])
  end
  local known = redis.call('SISMEMBER', queues_key, queue) == 1
  local asked = fields[4] and math.max(0, now - tonumber(fields[4])) or -1
  rows[i] = {known, fields[1] or '', tonumber(fields[2] or 0), longest, in_lanes, types, asked}
end
return cmsgpack.pack(rows)
