#!lua flags=allow-oom
--[=[ beat: a replica's sign of life; forgets replicas that gave none for stale_ms.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, worker, description, stale_ms]; description: JSON, '' = the replica leaves
Reply    msgpack [known]: how many replicas are known now
Errors   none of its own ]=]
--@include now
--@include keys
local args = cmsgpack.unpack(ARGV[1])
local now, worker, description, stale_ms = now_ms(args[1]), args[2], args[3], args[4]
local gone, entries = {}, redis.call('HGETALL', workers_key)
for i = 1, #entries, 2 do
  local seen = tonumber(string.match(entries[i + 1], '^%d+') or 0)
  if entries[i] ~= worker and seen < now - stale_ms and #gone < 4000 then gone[#gone + 1] = entries[i] end
end
if description == '' then gone[#gone + 1] = worker end
if #gone > 0 then redis.call('HDEL', workers_key, unpack(gone)) end
if description ~= '' then redis.call('HSET', workers_key, worker, now .. ' ' .. description) end
return cmsgpack.pack({redis.call('HLEN', workers_key)})
