#!lua flags=allow-oom
--[=[ save_offset: keeps how much of an export has been imported, so that an interrupted import can go on.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [import, offset]; import: the id of the export; offset: how many bytes of it are imported
Reply    msgpack [offset]; safe to resend
Errors   only those of the store ]=]
--@include keys
local args = cmsgpack.unpack(ARGV[1])
redis.call('HSET', meta_key, 'import', args[1], 'import_offset', args[2])
return cmsgpack.pack({args[2]})
