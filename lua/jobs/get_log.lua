#!lua flags=no-writes
--[=[ get_log: the lines that the attempts of a job have logged.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [id]
Reply    msgpack the text of log:<id>, see keep_log; '' if there is none, or if it is that of an earlier job with this id
Errors   only those of the store ]=]
--@include keys
--@include state
local id = cmsgpack.unpack(ARGV[1])[1]
local state = load_heads({id})[id]
return cmsgpack.pack(state and state.L and redis.call('GET', log_key(id)) or '')
