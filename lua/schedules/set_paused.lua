#!lua flags=allow-oom
--[=[ set_paused: pauses schedules, or resumes them. A paused one has no ticks, but it can be triggered.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, [[name, mark, pause, next | -1, due], ...], copied]; mark, copied: as in put_schedules
         pause: JSON on one line that no script reads, such as the reason; '' = resume
         next, due: the first tick after a resume in ms, -1 = none, and when it is fired. A pause leaves both as they are
Reply    msgpack [answer, ...], one per item: 'ok' | 'same' (it is paused with this text, or not paused; nothing was
         changed) | 'missing' | 'conflict' (another mark)
         a tick that waits for the end of the last job is skipped by a pause; safe to resend: then it is 'same',
         and nothing is written except for `copied`
Errors   only those of the store ]=]
--@include now
--@include keys
--@include writes
--@include schedules
local args = cmsgpack.unpack(ARGV[1])
local now, items, copied = now_ms(args[1]), args[2], args[3]
local known, changed, answers = {}, {}, {}

local function pause_schedule(name, schedule, pause)
  schedule.pause, schedule.P = pause, whole(now)
  if schedule.p then add_run(name, tonumber(schedule.p), now, schedule.k, 'skipped') end
  drop_pending(schedule)
end

local function resume_schedule(schedule, next, due)
  schedule.pause, schedule.P = '', nil
  set_next(schedule, next, due)
end

for i, item in ipairs(items) do
  local name, mark, pause, next, due = unpack(item)
  known[name] = known[name] or load_schedule(name)
  local schedule = known[name]
  if not schedule then
    answers[i] = 'missing'
  elseif schedule.pause == pause then
    answers[i] = 'same'
  elseif not fits(schedule, mark) then
    answers[i] = 'conflict'
  else
    if pause == '' then resume_schedule(schedule, next, due) else pause_schedule(name, schedule, pause) end
    changed[name] = schedule
    answers[i] = 'ok'
  end
end
for name, schedule in pairs(changed) do save_schedule(name, schedule) end
commit()
write_runs()
announce_ticks(now, changed)
if copied and not next(changed) then redis.call('SET', copied_key, now) end
return cmsgpack.pack(answers)
