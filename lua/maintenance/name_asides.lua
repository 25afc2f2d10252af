#!lua flags=allow-oom
--[=[ name_asides: gives lists set aside their names again. A list without a name is never claimed from.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [[[queue, lane, type], ...]]; a list that does not exist gets no name
Reply    msgpack [count]; count: of the names that were missing; safe to resend
Errors   only those of the store ]=]
--@include keys
--@include writes
--@include asides: LETTER_OF
--@include features: features_in_use has_word is_open
--@include naming
local named = 0
for _, list in ipairs(cmsgpack.unpack(ARGV[1])[1]) do
  local queue, lane, type = list[1], list[2], list[3]
  if not is_named(queue, lane, type) and redis.call('EXISTS', aside_key(queue, lane, type)) == 1 then
    add_name(queue, lane, type, math.huge)
    wake_type(queue, type)
    named = named + 1
  end
end
commit()
for queue, names in pairs(names_by_queue) do
  if names.is_new then redis.call('SADD', queues_key, queue) end
end
write_names()
return cmsgpack.pack({named})
