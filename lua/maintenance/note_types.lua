#!lua flags=allow-oom
--[=[ note_types: keeps since when types have been unknown, and when a worker that takes every type last asked.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, [[queue, takes_all, [type, ...]], ...]]
         takes_all: whether a live worker asks for jobs of every type of the queue
         type: all types with a list set aside that no live worker of the queue takes; '*' = the list of further types
Reply    msgpack [[asked, [for_ms, ...]], ...], one per queue
         asked: how many ms ago a worker that takes every type last asked, -1 = not known
         for_ms: for how long each of the types has been unknown; this begins again after an hour without a call
         a queue that this shard does not have is not noted; safe to resend
Errors   only those of the store ]=]
--@include now
--@include keys
local EVERY_MS, FORGET_MS = 60000, 3600000
local args = cmsgpack.unpack(ARGV[1])
local now, rows = now_ms(args[1]), {}

-- write(queue, noted, before): keeps the times, at most once a minute while they are the same.
local function write(queue, noted, before)
  if noted == '' then
    if before[2] then redis.call('HDEL', queue_key(queue), 'unknown', 'unknown_at') end
  elseif noted ~= before[2] or now - tonumber(before[3] or 0) >= EVERY_MS then
    redis.call('HSET', queue_key(queue), 'unknown', noted, 'unknown_at', now)
  end
end

for i, row in ipairs(args[2]) do
  local queue, since, texts, times = row[1], {}, {}, {}
  local before = redis.call('HMGET', queue_key(queue), 'asked', 'unknown', 'unknown_at')
  local asked, exists = tonumber(before[1] or -1), redis.call('SISMEMBER', queues_key, queue) == 1
  if row[2] and exists and now - asked >= EVERY_MS then
    asked = now
    redis.call('HSET', queue_key(queue), 'asked', now)
  end
  local is_fresh = before[3] and now - tonumber(before[3]) < FORGET_MS
  for type, at in string.gmatch(is_fresh and before[2] or '', '(%S+):(%d+)') do since[type] = tonumber(at) end
  for j, type in ipairs(row[3]) do
    local at = since[type] or now
    texts[j], times[j] = string.format('%s:%d', type, at), now - at
  end
  if exists then write(queue, table.concat(texts, ' '), before) end
  rows[i] = {asked < 0 and -1 or now - asked, times}
end
return cmsgpack.pack(rows)
