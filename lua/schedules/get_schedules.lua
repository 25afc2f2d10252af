#!lua flags=no-writes
--[=[ get_schedules: the records of schedules, with their last runs.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, [name, ...], runs, max_bytes]; runs: how many of each, at most 50; max_bytes: stop after the record that
         exceeds it
Reply    msgpack [now_ms, [[record, [run, ...]], ...]], one per name, fewer if it stopped; record: the text of schedule:<name>, '' if
         there is none; run: a line of runs:<name>, newest first
Errors   only those of the store ]=]
--@include now
--@include keys: base
--@include schedules: schedule_key runs_key RUNS_KEPT
local args = cmsgpack.unpack(ARGV[1])
local now, names, count, left = now_ms(args[1]), args[2], math.min(args[3], RUNS_KEPT), args[4]
local found = {}
for i, name in ipairs(names) do
  if left < 0 then break end
  local record = redis.call('GET', schedule_key(name)) or ''
  local lines = count > 0 and record ~= '' and redis.call('LRANGE', runs_key(name), 0, count - 1) or {}
  found[i] = {record, lines}
  left = left - #record
end
return cmsgpack.pack({now, found})
