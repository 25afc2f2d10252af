#!lua flags=allow-oom
--[=[ tidy_asides: the names of empty lists set aside go; replies with the lengths of the others.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [queue]; '' = all queues
Reply    msgpack [[queue, lane, type, length], ...]; length: tombstones too; safe to resend
Errors   only those of the store ]=]
--@include keys
--@include asides: LETTER_OF LANE_OF asides_of
local queue, lists = cmsgpack.unpack(ARGV[1])[1], {}

-- tidy(queue, names): keeps the names of the lists that have entries. A name does not go before, since a claim that finds
-- no name claims from the lane. The marker of a type is that of its lists in all lanes.
local function tidy(queue, names)
  local kept, in_use, empty = {}, {}, {}
  for _, name in ipairs(names) do
    local lane, type = name[1], name[2]
    local length = redis.call('LLEN', aside_key(queue, lane, type))
    if length > 0 then
      kept[#kept + 1], in_use[type] = ' ' .. LETTER_OF[lane] .. ':' .. type, true
      lists[#lists + 1] = {queue, lane, type, length}
    else
      empty[#empty + 1] = type
    end
  end
  if #empty == 0 then return end
  for _, type in ipairs(empty) do
    if not in_use[type] then redis.call('DEL', wake_type_key(queue, type)) end
  end
  if #kept > 0 then
    redis.call('HSET', queue_key(queue), 'aside', table.concat(kept))
  else
    redis.call('HDEL', queue_key(queue), 'aside')
  end
end

for _, each in ipairs(queue ~= '' and {queue} or redis.call('SMEMBERS', queues_key)) do
  tidy(each, asides_of(redis.call('HGET', queue_key(each), 'aside')))
end
return cmsgpack.pack(lists)
