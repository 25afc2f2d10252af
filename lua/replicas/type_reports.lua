#!lua flags=no-writes
--[=[ type_reports: the reports of live replicas about their workers' types, if they have changed since the last time.
Replicas whose descriptions have the same types_mark report the same, so one of them stands for all. A description
without one, of an earlier version, counts as changed with each heartbeat.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, stale_ms, mark, bytes]; mark: that of the last reply, or ''; bytes: the maximum size of
         all descriptions together, of which one may be larger
Reply    msgpack [mark, [description, ...]]; no descriptions if the mark is the same; description: JSON, as heartbeat
         got it
Errors   only those of the store ]=]
--@include now
--@include keys
local args = cmsgpack.unpack(ARGV[1])
local now, stale_ms, last, room = now_ms(args[1]), args[2], args[3], args[4]
local field = '"types_mark":"'
local by_mark, marks, entries = {}, {}, redis.call('HGETALL', workers_key)
for i = 1, #entries, 2 do
  local seen, description = string.match(entries[i + 1], '^(%d+) (.*)$')
  if seen and tonumber(seen) >= now - stale_ms then
    local _, found = string.find(description, field, 1, true)
    local mark = found and string.match(description, '^%x+', found + 1) or entries[i] .. ' ' .. seen
    if not by_mark[mark] then
      by_mark[mark] = description
      marks[#marks + 1] = mark
    end
  end
end
table.sort(marks)
local mark, descriptions = table.concat(marks, ' '), {}
for i = 1, mark == last and 0 or #marks do
  local description = by_mark[marks[i]]
  if room > 0 then descriptions[#descriptions + 1] = description end
  room = room - #description
end
return cmsgpack.pack({mark, descriptions})
