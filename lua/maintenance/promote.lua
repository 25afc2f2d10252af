#!lua flags=allow-oom
--[=[ promote: scheduled and due -> queued, at the tail of its lane, for every queue.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, limit, reporting]; limit: per lane; reporting: true = the reply has the ids too
Reply    msgpack [count, due_in_ms | -1, tick_in_ms | -1, waits, [id, ...]]; count: of the jobs that moved; due_in_ms:
         until the next one is due, 0 when some are left; tick_in_ms: until the next tick of a schedule is due; waits:
         whether a tick waits for the end of a job; the ids of those that moved, only when reporting
Errors   only those of the store ]=]
--@include now
--@include keys
--@include promote: promote_due
--@include schedules: ticks_key waiting_ticks_key
local args = cmsgpack.unpack(ARGV[1])
local now, limit, ids = now_ms(args[1]), args[2], args[3] and {} or nil
local promoted, next_due = 0, nil
for _, queue in ipairs(redis.call('SMEMBERS', queues_key)) do
  local moved, due = promote_due(now, queue, limit, ids)
  promoted = promoted + moved
  if due then next_due = math.min(next_due or math.huge, due) end
  if moved > 0 then redis.call('ZADD', wake_key(queue), 0, 'm') end
end
local tick = redis.call('ZRANGE', ticks_key, 0, 0, 'WITHSCORES')[2]
local tick_in = tick and math.max(0, tonumber(tick) - now) or -1
local waits = redis.call('EXISTS', waiting_ticks_key) == 1
return cmsgpack.pack({promoted, next_due and math.max(0, next_due - now) or -1, tick_in, waits, ids})
