#!lua flags=allow-oom
--[=[ resume: claim takes from the queue again.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [queue]
Reply    msgpack 'ok' | 'not_paused'; safe to resend
Errors   none of its own ]=]
--@include keys
local queue = cmsgpack.unpack(ARGV[1])[1]
local was_paused = redis.call('HDEL', queue_key(queue), 'paused')
if was_paused == 1 then redis.call('ZADD', wake_key(queue), 0, 'm') end
return cmsgpack.pack(was_paused == 1 and 'ok' or 'not_paused')
