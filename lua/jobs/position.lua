#!lua flags=no-writes
--[=[ position: the place of a waiting job in its lane, and the jobs of its queue by lane.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [queue, lane, id, look]; look: how many entries of the lane are searched at most
Reply    msgpack [before, length, [high, default, low], paused, by, at]
         before: entries of its lane before it, tombstones of cancelled jobs included; -1 = not found among the entries
         that were searched; length: entries of its lane; high, default, low: claimable jobs of the queue
         paused: the reason, '' = not paused; by: '' = unknown; at: in ms, 0 = unknown
Errors   only those of the store ]=]
--@include keys
local args = cmsgpack.unpack(ARGV[1])
local queue, lane, id, look = args[1], args[2], args[3], args[4]
local list = ready_key(queue, lane)
local fields = redis.call('HMGET', queue_key(queue), 'paused', 'paused_by', 'paused_at', 'tombstones_high',
  'tombstones_default', 'tombstones_low')
local claimable = {}
for i, name in ipairs(LANES) do
  claimable[i] = math.max(0, redis.call('LLEN', ready_key(queue, name)) - tonumber(fields[i + 3] or 0))
end
local before = redis.call('LPOS', list, id, 'MAXLEN', look) or -1
return cmsgpack.pack({before, redis.call('LLEN', list), claimable, fields[1] or '', fields[2] or '',
  tonumber(fields[3] or 0)})
