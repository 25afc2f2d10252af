#!lua flags=allow-oom
--[=[ add_audit: adds an entry to the audit log, which keeps about the last `most` ones. It is written to a full store too:
     what frees memory must not lack its entry.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [most, entry, begun]; entry: JSON, as in queuey/services/access/audit.py; begun: the id of the entry with
         the intent, which this one with the outcome replaces, '' = none
Reply    msgpack id of the entry. Sent again it adds another entry
Errors   only those of the store ]=]
--@include keys: base
--@include schedules: audit_key
local args = cmsgpack.unpack(ARGV[1])
local most, entry, begun = args[1], args[2], args[3]
if begun ~= '' then redis.call('XDEL', audit_key, begun) end
return cmsgpack.pack(redis.call('XADD', audit_key, 'MAXLEN', '~', most, '*', 'd', entry))
