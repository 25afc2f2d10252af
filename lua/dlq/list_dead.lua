#!lua flags=no-writes
--[=[ list_dead: dead jobs of some queues in the order in which they died, with their last error.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, [queue, ...], [older_ms, younger_ms], [score, id], count]
         older_ms, younger_ms: they died at least and at most so many ms ago; younger_ms 0: no upper limit
         [score, id]: only jobs after this place; id '' = from the front
         count: at most; with many queues fewer of each are read, so that the call stays short
Reply    msgpack [[[id, score, queue, type, error, bytes], ...], ended]; first to last by score (died at, ms) and id
         error: the JSON of the last error, '' = none; bytes: of the definition and the state; ended: there are no more
Errors   only those of the store ]=]
--@include now
--@include keys
local READ_IN_ALL, READ_AT_LEAST = 10000, 20
local args = cmsgpack.unpack(ARGV[1])
local now, queues, ages, after, count = now_ms(args[1]), args[2], args[3], args[4], args[5]
local latest = now - ages[1]
local earliest = ages[2] > 0 and now - ages[2] or 0
count = math.min(count, math.max(READ_AT_LEAST, math.floor(READ_IN_ALL / math.max(1, #queues))))

-- rank_after(set): returns how many entries are before the first wanted one. Equal scores are in the order of their
-- ids, so a binary search finds the place.
local function rank_after(set)
  if after[2] == '' or after[1] < earliest then
    return redis.call('ZCOUNT', set, '-inf', string.format('(%d', earliest))
  end
  local low = redis.call('ZCOUNT', set, '-inf', string.format('(%d', after[1]))
  local high = redis.call('ZCOUNT', set, '-inf', string.format('%d', after[1]))
  while low < high do
    local middle = math.floor((low + high) / 2)
    if redis.call('ZRANGE', set, middle, middle)[1] > after[2] then high = middle else low = middle + 1 end
  end
  return low
end

-- last_error(id): an error has at most 4,096 bytes, and a time before it. Most are shorter.
local function last_error(id)
  local function within(bytes) return string.match(redis.call('GETRANGE', state_key(id), -bytes, -1), '\n%d+ ([^\n]*)$') end
  return within(1100) or within(4200) or ''
end

local entries, ended = {}, true
for _, queue in ipairs(queues) do
  local first = rank_after(dead_key(queue))
  local found = redis.call('ZRANGE', dead_key(queue), first, first + count - 1, 'WITHSCORES')
  if #found == 2 * count and tonumber(found[#found]) <= latest then ended = false end
  for i = 1, #found, 2 do
    local score = tonumber(found[i + 1])
    if score <= latest then entries[#entries + 1] = {found[i], score, queue} end
  end
end
table.sort(entries, function(a, b) return a[2] < b[2] or (a[2] == b[2] and a[1] < b[1]) end)

local page = {}
for i = 1, math.min(count, #entries) do
  local entry = entries[i]
  local id = entry[1]
  local head = redis.call('GETRANGE', job_key(id), 0, 1023)
  entry[4] = string.match(head, '\n{"type":"([^"]*)"') or ''
  entry[5] = last_error(id)
  entry[6] = redis.call('STRLEN', job_key(id)) + redis.call('STRLEN', state_key(id))
  page[i] = entry
end
return cmsgpack.pack({page, ended and #entries <= count})
