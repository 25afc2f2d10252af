#!lua flags=allow-oom
--[=[ subscribe_events: a subscriber listens for the next ttl_ms, and every replica publishes its events then.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [ttl_ms, channel]; ttl_ms: 0 = only ask; channel: where ttl_ms is published
Reply    msgpack status: 'kept' | 'begun' | 'nobody'
         kept: another subscriber listens already; begun: there was no subscriber, so older events are deleted, since
         some are missing after them; nobody: only asked, and there is no subscriber
         safe to resend: then begun becomes kept
Errors   only those of the store ]=]
--@include keys
local args = cmsgpack.unpack(ARGV[1])
local ttl_ms, channel = args[1], args[2]
local listening = redis.call('EXISTS', listening_key) == 1
if ttl_ms > 0 then
  if not listening then redis.call('DEL', events_key) end
  redis.call('SET', listening_key, '1', 'PX', ttl_ms)
  redis.call('PUBLISH', channel, ttl_ms)
end
return cmsgpack.pack(listening and 'kept' or ttl_ms > 0 and 'begun' or 'nobody')
