#!lua flags=allow-oom
--[=[ register: a replica starts on this store. The first one writes the data format and the number of shards, and the
     first one that sends a store id writes that; it never changes.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [format, shards, store_id]
Reply    msgpack [format, shards] as the store holds them; the replica refuses to start when they differ from its own
Errors   only those of the store ]=]
--@include keys
local args = cmsgpack.unpack(ARGV[1])
redis.call('HSETNX', meta_key, 'format', args[1])
redis.call('HSETNX', meta_key, 'shards', args[2])
redis.call('HSETNX', meta_key, 'store_id', args[3])
local stored = redis.call('HMGET', meta_key, 'format', 'shards')
return cmsgpack.pack({tonumber(stored[1]), tonumber(stored[2])})
