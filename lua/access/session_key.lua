#!lua flags=allow-oom
--[=[ session_key: the secret that signs the sessions of the page. The first one that asks with a new key makes it.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [new, replace]; new: the key to keep if there is none, '' = make none; replace: true = keep this one
         in place of what there is, which ends all sessions
Reply    msgpack key: the one that is kept, '' if there is none; safe to resend
Errors   only those of the store ]=]
--@include keys: base meta_key
local args = cmsgpack.unpack(ARGV[1])
local new, replace = args[1], args[2]
if replace then
  redis.call('HSET', meta_key, 'session_key', new)
elseif new ~= '' then
  redis.call('HSETNX', meta_key, 'session_key', new)
end
return cmsgpack.pack(redis.call('HGET', meta_key, 'session_key') or '')
