#!lua flags=allow-oom
--[=[ register: a replica starts on this store. The first one writes the data format and the number of shards, and the
     first one that sends a store id writes that; it never changes. On a new store, features are open from the start.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [format, shards, store_id, [feature, ...], [feature, ...]]: first all features that the replica knows,
         then those to be open if the shard is new; format: the newest that the replica reads
Reply    msgpack [format, shards, [feature, ...], [feature, ...]] as the store holds them: the features in use, and those
         of them that the replica does not know. It refuses to start if there are any, or if its format is older or
         its shards are not the store's; nothing was written then
Errors   only those of the store ]=]
--@include keys
--@include features
local args = cmsgpack.unpack(ARGV[1])
local format, shards, store_id, known, to_open = args[1], args[2], args[3], args[4], args[5]
local stored = redis.call('HMGET', meta_key, 'format', 'shards', 'features')
local in_use = stored[3] or ''
local unknown = missing_words(in_use, table.concat(known, ' '))
local fits = tonumber(stored[1] or 0) <= format and tonumber(stored[2] or shards) == shards

if #unknown == 0 and fits then
  -- After a flush, replicas that are known, or that have taken a job since, may be older ones.
  if not stored[1] and redis.call('EXISTS', workers_key, queues_key) == 0 then
    redis.call('HSET', meta_key, 'format', #to_open > 0 and format or 1)
    if #to_open > 0 then redis.call('HSET', meta_key, 'features', table.concat(to_open, ' ')) end
  end
  redis.call('HSETNX', meta_key, 'format', 1)
  redis.call('HSETNX', meta_key, 'shards', shards)
  redis.call('HSETNX', meta_key, 'store_id', store_id)
  stored, in_use = redis.call('HMGET', meta_key, 'format', 'shards'), features_in_use()
end
return cmsgpack.pack({tonumber(stored[1] or 0), tonumber(stored[2] or 0), missing_words(in_use, ''), unknown})
