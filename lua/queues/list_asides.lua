#!lua flags=no-writes
--[=[ list_asides: the lists set aside of queues, with their lengths.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, [queue, ...]]
Reply    msgpack [[asked, [[lane, type, length], ...]], ...], one per queue; at most 64 lists each
         asked: how many ms ago a worker that takes every type last asked for jobs of the queue, -1 = not known
         length: tombstones included; a list that is empty is left out; type: '*' = those of further types
Errors   only those of the store ]=]
--@include now
--@include keys
--@include asides: LANE_OF asides_of
local args = cmsgpack.unpack(ARGV[1])
local now = now_ms(args[1])
local rows = {}
for i, queue in ipairs(args[2]) do
  local fields, lists = redis.call('HMGET', queue_key(queue), 'aside', 'asked'), {}
  for _, aside in ipairs(asides_of(fields[1])) do
    local length = redis.call('LLEN', aside_key(queue, aside[1], aside[2]))
    if length > 0 then lists[#lists + 1] = {aside[1], aside[2], length} end
  end
  rows[i] = {fields[2] and math.max(0, now - tonumber(fields[2])) or -1, lists}
end
return cmsgpack.pack(rows)
