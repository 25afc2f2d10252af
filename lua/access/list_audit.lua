#!lua flags=no-writes
--[=[ list_audit: entries of the audit log, the newest first.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [before, limit]; before: the id after which the list goes on, '' = from the newest; limit: most entries
Reply    msgpack [[id, entry], ...]; entry: JSON
Errors   only those of the store ]=]
--@include keys: base
--@include schedules: audit_key
local args = cmsgpack.unpack(ARGV[1])
local before, limit = args[1], args[2]
local found = {}
for i, entry in ipairs(redis.call('XREVRANGE', audit_key, before == '' and '+' or '(' .. before, '-', 'COUNT', limit)) do
  found[i] = {entry[1], entry[2][2]}
end
return cmsgpack.pack(found)
