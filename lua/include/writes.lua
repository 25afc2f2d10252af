-- writes: a script collects its writes while it reads and checks, and commit() does them at its end.
-- An abort rolls nothing back, so a script writes nothing before it has checked everything.
-- writes.expiring: key -> {value, ttl in ms}, if a script sets it; written after what is deleted.
-- writes.held: dedupe key -> its holder as this call leaves it, false = none; of those that the call has changed.
-- A command with a list of arguments gets at most 4,000, and is left out when there is nothing to write.
local writes = {set = {}, zrem = {}, zadd = {}, rpush = {}, lpush = {}, hincr = {}, del = {}, wake = {}, ended = {}}

local function writes_list(group, key)
  local list = group[key]
  if not list then list = {}; group[key] = list end
  return list
end

local function put(key, value)
  local list = writes.set
  list[#list + 1] = key; list[#list + 1] = value
end

local function zrem(key, member)
  local list = writes_list(writes.zrem, key)
  list[#list + 1] = member
end

local function zadd(key, score, member)
  local list = writes_list(writes.zadd, key)
  list[#list + 1] = score; list[#list + 1] = member
end

local function rpush(key, member)
  local list = writes_list(writes.rpush, key)
  list[#list + 1] = member
end

local function lpush(key, member)
  local list = writes_list(writes.lpush, key)
  list[#list + 1] = member
end

local function hincr(key, field, by)
  local fields = writes_list(writes.hincr, key)
  fields[field] = (fields[field] or 0) + by
end

local function del(key) writes.del[#writes.del + 1] = key end

-- wake(queue): puts the marker that wakes one idle replica. Many jobs put one marker.
local function wake(queue) writes.wake[queue] = true end

-- publish_end(id): publishes that this job has ended, for the clients that wait for it; see watch_end.
local function publish_end(id) writes.ended[#writes.ended + 1] = id end

-- count(now, name, by): adds to a counter of the shard, in total and by the minute (kept for two hours).
local function count(now, name, by)
  if by == 0 then return end
  hincr(stats_key, name, by)
  hincr(stats_minute_key(math.floor(now / 60000)), name, by)
end

local function in_chunks(command, key, list)
  for first = 1, #list, 3998 do
    redis.call(command, key, unpack(list, first, math.min(first + 3997, #list)))
  end
end

local function commit()
  local by_minute = stats_minute_key('')
  for first = 1, #writes.set, 4000 do
    redis.call('MSET', unpack(writes.set, first, math.min(first + 3999, #writes.set)))
  end
  for key, members in pairs(writes.zrem) do in_chunks('ZREM', key, members) end
  for key, pairs_ in pairs(writes.zadd) do in_chunks('ZADD', key, pairs_) end
  for key, members in pairs(writes.rpush) do in_chunks('RPUSH', key, members) end
  for key, members in pairs(writes.lpush) do in_chunks('LPUSH', key, members) end
  for key, fields in pairs(writes.hincr) do
    for field, by in pairs(fields) do
      local value = redis.call('HINCRBY', key, field, by)
      if value == by and string.sub(key, 1, #by_minute) == by_minute then redis.call('EXPIRE', key, 7200) end
    end
  end
  for first = 1, #writes.del, 4000 do
    redis.call('DEL', unpack(writes.del, first, math.min(first + 3999, #writes.del)))
  end
  if writes.expiring then
    for key, entry in pairs(writes.expiring) do redis.call('SET', key, entry[1], 'PX', entry[2]) end
  end
  for queue in pairs(writes.wake) do redis.call('ZADD', wake_key(queue), 0, 'm') end
  for _, id in ipairs(writes.ended) do redis.call('PUBLISH', finished_channel(), id) end
end
