#!lua flags=allow-oom
--[=[ open_feature: has scripts write the keys of a feature, once every known replica knows it. First it raises the data
     format, after which no older version starts; then it lets settle_ms pass, in which a replica that had started
     before sends its first heartbeat. A replica counts until it is forgotten.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, feature, format, settle_ms, may_open]; may_open: false = raise the format, do not open.
         Heartbeats go to shard 0 only, so the other shards have nobody to check and nothing to wait for
Reply    msgpack [word, [replica, ...]]: 'open'; 'ready': the next call with may_open opens it; 'settling'; or 'held' by
         these replicas, up to 10, and nothing was done; safe to resend
Errors   only those of the store ]=]
--@include now
--@include keys
--@include features
local args = cmsgpack.unpack(ARGV[1])
local now, feature, format, settle_ms, may_open = now_ms(args[1]), args[2], args[3], args[4], args[5]
local stored = redis.call('HMGET', meta_key, 'format', 'features', 'settling_' .. feature)
local in_use, since = stored[2] or '', math.min(tonumber(stored[3] or now), now)
if has_word(in_use, feature) then return cmsgpack.pack({'open', {}}) end

local without = strangers(redis.call('HGETALL', workers_key), feature)
if #without > 0 then
  redis.call('HDEL', meta_key, 'settling_' .. feature)
  return cmsgpack.pack({'held', without})
end
local raised = tonumber(stored[1] or 0) >= format
if not raised then redis.call('HSET', meta_key, 'format', format) end
if raised and now - since >= settle_ms then
  if not may_open then return cmsgpack.pack({'ready', {}}) end
  redis.call('HSET', meta_key, 'features', in_use == '' and feature or in_use .. ' ' .. feature)
  redis.call('HDEL', meta_key, 'settling_' .. feature)
  return cmsgpack.pack({'open', {}})
end
redis.call('HSET', meta_key, 'settling_' .. feature, string.format('%d', raised and since or now))
return cmsgpack.pack({'settling', {}})
