#!lua flags=no-writes
--[=[ stats: how much is where, and the counters.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, minutes]; minutes: how many of the last full minutes to add up, 0 to 60
Reply    msgpack [[[queue, paused, high, default, low, scheduled, running, dead, finished, dead_bytes, done_bytes], ...],
         [[counter, total, in_those_minutes], ...]]
         paused: the reason, '' = not paused; lengths are those of claimable jobs, tombstones taken off
Errors   none of its own ]=]
--@include now
--@include keys
local args = cmsgpack.unpack(ARGV[1])
local now, minutes = now_ms(args[1]), math.min(args[2], 60)

local function queue_row(queue)
  local fields = redis.call('HMGET', queue_key(queue), 'paused', 'tombstones_high', 'tombstones_default',
    'tombstones_low', 'dead_bytes', 'done_bytes')
  local row, scheduled = {queue, fields[1] or ''}, 0
  for i, lane in ipairs(LANES) do
    row[i + 2] = redis.call('LLEN', ready_key(queue, lane)) - tonumber(fields[i + 1] or 0)
    scheduled = scheduled + redis.call('ZCARD', scheduled_key(queue, lane))
  end
  row[6] = scheduled
  for i, key in ipairs({leases_key(queue), dead_key(queue), done_key(queue)}) do
    row[i + 6] = redis.call('ZCARD', key)
  end
  row[10], row[11] = tonumber(fields[5] or 0), tonumber(fields[6] or 0)
  return row
end

local rows, counters = {}, {}
for i, queue in ipairs(redis.call('SMEMBERS', queues_key)) do rows[i] = queue_row(queue) end
local totals = redis.call('HGETALL', stats_key)
for i = 1, #totals, 2 do counters[#counters + 1] = {totals[i], tonumber(totals[i + 1]), 0} end
for minute = math.floor(now / 60000) - minutes, math.floor(now / 60000) - 1 do
  for _, counter in ipairs(counters) do
    counter[3] = counter[3] + tonumber(redis.call('HGET', stats_key .. ':' .. minute, counter[1]) or 0)
  end
end
return cmsgpack.pack({rows, counters})
