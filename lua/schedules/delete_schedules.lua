#!lua flags=allow-oom
--[=[ delete_schedules: schedules are deleted, with their runs and a tick that waits. Their jobs stay.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [[[name, mark], ...], copied]; mark, copied: as in put_schedules
Reply    msgpack [answer, ...], one per item: 'ok' | 'missing' | 'conflict' (another mark)
         a deleted schedule is 'missing': safe to resend; then nothing is written except for `copied`
Errors   only those of the store ]=]
--@include keys
--@include writes
--@include schedules
local args = cmsgpack.unpack(ARGV[1])
local answers, gone = {}, {}
for i, item in ipairs(args[1]) do
  local name, mark = item[1], item[2]
  local schedule = not gone[name] and load_schedule(name) or nil
  if not schedule then
    answers[i] = 'missing'
  elseif not fits(schedule, mark) then
    answers[i] = 'conflict'
  else
    gone[name] = true
    del(schedule_key(name)); del(runs_key(name))
    zrem(schedule_names_key, name); zrem(ticks_key, name); zrem(waiting_ticks_key, name)
    answers[i] = 'ok'
  end
end
commit()
if args[2] and not next(gone) then redis.call('SET', copied_key, 1) end
return cmsgpack.pack(answers)
