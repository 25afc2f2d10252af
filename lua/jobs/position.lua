#!lua flags=no-writes
--[=[ position: the place of a waiting job in its lane, or in the list set aside that has it, and the jobs of its queue by lane.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [queue, lane, id, look]; look: how many entries of a list are searched at most
Reply    msgpack [before, length, [high, default, low], paused, by, at, aside]
         before: entries of its list before it, tombstones of cancelled jobs included; -1 = not found among the entries
         that were searched; length: entries of its list; aside: the name of that list, a type, '*' or '!'; '' = the lane
         high, default, low: queued jobs of the lanes, and of the lists of the same type that were set aside from them
         paused: the reason, '' = not paused; by: '' = unknown; at: in ms, 0 = unknown
Errors   only those of the store ]=]
--@include keys
--@include asides: LANE_OF asides_of lists_of type_of may_have
local args = cmsgpack.unpack(ARGV[1])
local queue, lane, id, look = args[1], args[2], args[3], args[4]
local fields = redis.call('HMGET', queue_key(queue), 'paused', 'paused_by', 'paused_at', 'tombstones_high',
  'tombstones_default', 'tombstones_low', 'aside')
local lists = lists_of(queue, fields[7])

-- find(): returns the name of the list that has the job, '' = the lane, the entries before it there, and all of them. A job
-- that was not found may be deep in a list.
local function find()
  local type, found, length = fields[7] and type_of(redis.call('GETRANGE', job_key(id), 0, 1023)), '', 0
  for n = #lists[lane], 1, -1 do
    local key, of_type = lists[lane][n][1], lists[lane][n][2]
    if may_have(of_type, type) then
      local before, entries = redis.call('LPOS', key, id, 'MAXLEN', look), redis.call('LLEN', key)
      if before then return of_type, before, entries end
      if entries > look or length == 0 then found, length = of_type, entries end
    end
  end
  return found, -1, length
end

local aside, before, length = find()
local queued = {}
for i, name in ipairs(LANES) do
  queued[i] = -tonumber(fields[i + 3] or 0)
  for n, list in ipairs(lists[name]) do
    if n == 1 or list[2] == aside then queued[i] = queued[i] + redis.call('LLEN', list[1]) end
  end
  queued[i] = math.max(0, queued[i])
end
return cmsgpack.pack({before, length, queued, fields[1] or '', fields[2] or '', tonumber(fields[3] or 0), aside})
