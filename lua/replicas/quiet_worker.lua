#!lua flags=allow-oom
--[=[ quiet_worker: a worker must claim no more jobs; the reply to its replica's next heartbeat says so.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, worker]
Reply    msgpack 'ok' | 'too_many' (1,000 are quiet already); safe to resend
Errors   only those of the store ]=]
--@include now
--@include keys
local MAX_QUIET = 1000
local args = cmsgpack.unpack(ARGV[1])
local now, worker = now_ms(args[1]), args[2]
if not redis.call('HGET', quiet_key, worker) and redis.call('HLEN', quiet_key) >= MAX_QUIET then
  return cmsgpack.pack('too_many')
end
redis.call('HSET', quiet_key, worker, now)
return cmsgpack.pack('ok')
