#!lua flags=no-writes
--[=[ list_schedules: a page of schedules, by name.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [after, count, max_bytes]; after: the last name of the page before, '' = from the first; max_bytes: stop
         after the record that exceeds it
Reply    msgpack [[[name, record], ...], ended]; record: the text of schedule:<name>; ended: there are no more
Errors   only those of the store ]=]
--@include keys: base
--@include schedules: schedule_key schedule_names_key
local args = cmsgpack.unpack(ARGV[1])
local after, count, left = args[1], args[2], args[3]
local first = after == '' and '-' or '(' .. after
local names = redis.call('ZRANGEBYLEX', schedule_names_key, first, '+', 'LIMIT', 0, count)
local found = {}
for i, name in ipairs(names) do
  if left < 0 then break end
  local record = redis.call('GET', schedule_key(name)) or ''
  found[i] = {name, record}
  left = left - #record
end
return cmsgpack.pack({found, #names < count and #found == #names})
