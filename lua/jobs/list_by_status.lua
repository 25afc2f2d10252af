#!lua flags=no-writes
--[=[ list_by_status: ids in one place, first to last.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [place, queue, lane, start, count, type | nothing]
         place: 'ready' | 'scheduled' (of a queue and a lane), 'running' | 'dead' | 'finished' (of a queue, or of all
         queues with '', merged by score); start: entries to skip; count: at most 1,000
         type: list what was set aside from the lane for this type instead of the lane, for 'ready'
Reply    msgpack [[id, score, queue], ...]; score in ms: due, lease expiry, died at, may go at; 0 for 'ready'
         'ready' includes tombstones of cancelled jobs
Errors   'unknown place' ]=]
--@include keys
local args = cmsgpack.unpack(ARGV[1])
local place, queue, lane, start, count = args[1], args[2], args[3], args[4], args[5]
local SETS = {running = leases_key, dead = dead_key, finished = done_key}
local entries = {}

local function add_from_set(set, name, first, last)
  local found = redis.call('ZRANGE', set, first, last, 'WITHSCORES')
  for i = 1, #found, 2 do entries[#entries + 1] = {found[i], tonumber(found[i + 1]), name} end
end

if place == 'ready' then
  local list = args[6] and aside_key(queue, lane, args[6]) or ready_key(queue, lane)
  for i, id in ipairs(redis.call('LRANGE', list, start, start + count - 1)) do
    entries[i] = {id, 0, queue}
  end
elseif place == 'scheduled' then
  add_from_set(scheduled_key(queue, lane), queue, start, start + count - 1)
elseif SETS[place] and queue ~= '' then
  add_from_set(SETS[place](queue), queue, start, start + count - 1)
elseif SETS[place] then
  for _, name in ipairs(redis.call('SMEMBERS', queues_key)) do
    add_from_set(SETS[place](name), name, 0, start + count - 1)
  end
  table.sort(entries, function(a, b) return a[2] < b[2] or (a[2] == b[2] and a[1] < b[1]) end)
  local page = {}
  for i = start + 1, math.min(start + count, #entries) do page[#page + 1] = entries[i] end
  entries = page
else
  return redis.error_reply('ERR unknown place')
end
return cmsgpack.pack(entries)
