#!lua flags=allow-oom
--[=[ save_offset: how much of an export has been read into this store, so that an import that was broken off can go on.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [import, offset]; import: the id of the export; offset: how many bytes of it are in
Reply    msgpack [offset]; safe to resend
Errors   none of its own ]=]
--@include keys
local args = cmsgpack.unpack(ARGV[1])
redis.call('HSET', meta_key, 'import', args[1], 'import_offset', args[2])
return cmsgpack.pack({args[2]})
