#!lua flags=no-writes
--[=[ store_info: what this store is, for a program that checks it before it registers.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0]
Reply    msgpack [format, shards, now_ms, import, import_offset, store_id, [feature, ...]]; format and shards are 0 if no
         replica has registered yet; now_ms: the store's clock; import: the id of the export that was imported last, '' = none;
         import_offset: how many bytes of it are imported; store_id: '' = only versions without ids have registered;
         features: those in use
Errors   only those of the store ]=]
--@include now
--@include keys
--@include features
local args = cmsgpack.unpack(ARGV[1])
local stored = redis.call('HMGET', meta_key, 'format', 'shards', 'import', 'import_offset', 'store_id')
local format, shards = tonumber(stored[1] or 0), tonumber(stored[2] or 0)
return cmsgpack.pack({
  format, shards, now_ms(args[1]), stored[3] or '', tonumber(stored[4] or 0), stored[5] or '',
  missing_words(features_in_use(), ''),
})
