#!lua flags=allow-oom
--[=[ pause: claim passes the queue over from now on; what runs goes on, and enqueue still takes jobs.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [queue, reason]; reason: not empty
Reply    msgpack 'ok' | 'too_many_queues' (a new name, and there are 256); safe to resend
Errors   none of its own ]=]
--@include keys
local args = cmsgpack.unpack(ARGV[1])
if redis.call('SISMEMBER', queues_key, args[1]) == 0 then
  if redis.call('SCARD', queues_key) >= MAX_QUEUES then return cmsgpack.pack('too_many_queues') end
  redis.call('SADD', queues_key, args[1])
end
redis.call('HSET', queue_key(args[1]), 'paused', args[2])
return cmsgpack.pack('ok')
