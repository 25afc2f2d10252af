#!lua
--[=[ restore_schedules: puts schedules of an export into this store, with their next tick and when it is due, last job and runs.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [[name, record, [run, ...]], ...]; record and runs: as get_schedules has them
Reply    msgpack [answer, ...], one per item: 'ok' | 'there' (there is a schedule of this name; it was not changed) |
         'too_many' (10,000 on this shard) | 'closed' (older replicas run beside this one; nothing was written)
         safe to resend
Errors   OOM, when the store is over its maxmemory; then nothing was written ]=]
--@include keys
--@include features
--@include writes
--@include schedules
local items, answers, restored = cmsgpack.unpack(ARGV[1]), {}, {}
local may_write, size = is_open('schedules'), redis.call('ZCARD', schedule_names_key)

local function restore_schedule(name, record, lines)
  if not may_write then return 'closed' end
  if restored[name] or redis.call('EXISTS', schedule_key(name)) == 1 then return 'there' end
  if size >= MAX_SCHEDULES then return 'too_many' end
  size, restored[name] = size + 1, lines
  zadd(schedule_names_key, 0, name)
  save_schedule(name, parse_schedule(record))
  return 'ok'
end

for i, item in ipairs(items) do answers[i] = restore_schedule(unpack(item)) end
commit()
for name, lines in pairs(restored) do
  redis.call('DEL', runs_key(name))
  if #lines > 0 then redis.call('RPUSH', runs_key(name), unpack(lines, 1, math.min(#lines, RUNS_KEPT))) end
end
return cmsgpack.pack(answers)
