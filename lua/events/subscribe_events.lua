#!lua flags=allow-oom
--[=[ subscribe_events: somebody follows the events for the next ttl_ms, and every replica is told to emit them.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [ttl_ms, channel]; ttl_ms: 0 = only ask; channel: where ttl_ms is published
Reply    msgpack status: 'kept' | 'begun' | 'nobody'
         kept: somebody does so already; begun: nobody did, and older events, after which some are missing, are gone;
         nobody: only asked, and nobody does. Safe to resend, but that begun is then answered kept
Errors   none of its own ]=]
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
