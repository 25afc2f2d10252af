#!lua flags=allow-oom
--[=[ heartbeat: keeps the heartbeat of a replica; forgets replicas and quiet workers that sent none for stale_ms.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, replica, description, stale_ms, [worker, ...], shards]; description: JSON that ends with the list
         of the features that the replica knows, '' = the replica leaves
         the workers of this replica that are quiet, which they stay; shards: their number as the replica sees it
Reply    msgpack [known, [worker, ...], [feature, ...], [feature, ...], [replica, ...], shards]: how many replicas are known now,
         all workers that must be quiet, the features in use, those of them that this replica does not know (it is not
         registered then and must stop), up to 10 other replicas that do not know all of them, and the
         number of shards of the store. 0: the store was emptied since, so the replica must register again. If it is
         another number, the replica is not kept and must stop
Errors   only those of the store ]=]
--@include now
--@include keys
--@include features
local args = cmsgpack.unpack(ARGV[1])
local now, replica, description, stale_ms = now_ms(args[1]), args[2], args[3], args[4]
local shards = tonumber(redis.call('HGET', meta_key, 'shards') or 0)
local fits = shards == 0 or shards == args[6]
local here = {[replica] = true}
for _, worker in ipairs(args[5]) do here[worker] = true end

local in_use = features_in_use()
local unknown = description ~= '' and missing_words(in_use, features_of(description)) or {}
local gone, others, entries = {}, {}, redis.call('HGETALL', workers_key)
for i = 1, #entries, 2 do
  local seen = tonumber(string.match(entries[i + 1], '^%d+') or 0)
  if entries[i] == replica then
    -- Its own entry is replaced, or removed.
  elseif seen < now - stale_ms and #gone < 4000 then
    gone[#gone + 1] = entries[i]
  elseif in_use ~= '' then
    others[#others + 1] = entries[i]; others[#others + 1] = entries[i + 1]
  end
end
if description == '' or #unknown > 0 or not fits then gone[#gone + 1] = replica end

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
if description ~= '' and #unknown == 0 and fits then
  redis.call('HSET', workers_key, replica, now .. ' ' .. description)
end
local without = strangers(others, in_use)
return cmsgpack.pack({redis.call('HLEN', workers_key), quiet, missing_words(in_use, ''), unknown, without, shards})
