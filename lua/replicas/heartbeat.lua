#!lua flags=allow-oom
--[=[ heartbeat: keeps the heartbeat of a replica; forgets replicas and quiet workers that sent none for stale_ms.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, replica, description, stale_ms, [worker, ...]]; description: JSON, '' = the replica leaves
         the workers of this replica that are quiet, which they stay
Reply    msgpack [known, [worker, ...]]: how many replicas are known now, and all workers that must be quiet
Errors   only those of the store ]=]
--@include now
--@include keys
local args = cmsgpack.unpack(ARGV[1])
local now, replica, description, stale_ms = now_ms(args[1]), args[2], args[3], args[4]
local here = {[replica] = true}
for _, worker in ipairs(args[5]) do here[worker] = true end

local gone, entries = {}, redis.call('HGETALL', workers_key)
for i = 1, #entries, 2 do
  local seen = tonumber(string.match(entries[i + 1], '^%d+') or 0)
  if entries[i] ~= replica and seen < now - stale_ms and #gone < 4000 then gone[#gone + 1] = entries[i] end
end
if description == '' then gone[#gone + 1] = replica end

local quiet, seen_here, forgotten = {}, {}, {}
entries = redis.call('HGETALL', quiet_key)
for i = 1, #entries, 2 do
  local worker = entries[i]
  local stale = not here[worker] and tonumber(entries[i + 1]) < now - stale_ms
  if stale or (worker == replica and description == '') then
    forgotten[#forgotten + 1] = worker
  else
    quiet[#quiet + 1] = worker
    if here[worker] then
      seen_here[#seen_here + 1] = worker; seen_here[#seen_here + 1] = now
    end
  end
end

if #gone > 0 then redis.call('HDEL', workers_key, unpack(gone)) end
if #forgotten > 0 then redis.call('HDEL', quiet_key, unpack(forgotten)) end
if #seen_here > 0 then redis.call('HSET', quiet_key, unpack(seen_here)) end
if description ~= '' then redis.call('HSET', workers_key, replica, now .. ' ' .. description) end
return cmsgpack.pack({redis.call('HLEN', workers_key), quiet})
