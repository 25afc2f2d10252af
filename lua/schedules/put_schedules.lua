#!lua
--[=[ put_schedules: makes schedules, or replaces them. A replaced one keeps its uid, its last job, its runs and a pause.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, [[name, uid, mark, anchor, next | -1, due, spec], ...], copied]
         uid: for a new schedule; ids of jobs are made of it, so another one of this name has another
         mark: '*' = whatever there is; '' = there must be none; or '<uid>.<version>' of the one to replace
         anchor: for a new schedule; the time in ms from which the ticks of an interval are counted. The caller must have
         found `next` with it; next: its next tick in ms, -1 = none; due: when that tick is fired, later by its jitter
         spec: JSON that no script reads
         copied: as in enqueue: write in any case, for WAIT
Reply    msgpack [[answer, mark], ...], one per item: 'new' | 'replaced' | 'same' (the spec is there already; nothing was
         changed, whatever the mark) | 'conflict' (another mark) | 'too_many' (10,000 on this shard) | 'closed' (older
         replicas run beside this one; nothing was written), and the mark that the schedule has now, '' if there is none
         safe to resend: then it is 'same', and nothing is written except for `copied`
Errors   OOM, when the store is over its maxmemory; then nothing was written ]=]
--@include now
--@include keys
--@include features
--@include writes
--@include schedules
local args = cmsgpack.unpack(ARGV[1])
local now, items, copied = now_ms(args[1]), args[2], args[3]
local may_write = is_open('schedules')
local known, changed, answers, count = {}, {}, {}, redis.call('ZCARD', schedule_names_key)

local function put_schedule(name, uid, mark, anchor, next, due, spec)
  local schedule = known[name]
  if schedule and schedule.spec == spec then return 'same' end
  if not fits(schedule, mark) then return 'conflict' end
  if schedule then
    schedule.v, schedule.m, schedule.spec = whole(tonumber(schedule.v) + 1), whole(now), spec
  else
    if count >= MAX_SCHEDULES then return 'too_many' end
    count = count + 1
    schedule = {u = uid, v = '1', a = whole(anchor), c = whole(now), pause = '', spec = spec}
    known[name] = schedule
    zadd(schedule_names_key, 0, name)
  end
  set_next(schedule, next, due)
  changed[name] = schedule
  return schedule.v == '1' and 'new' or 'replaced'
end

for i, item in ipairs(items) do
  local name = item[1]
  if not may_write then
    answers[i] = {'closed', ''}
  else
    known[name] = known[name] or load_schedule(name)
    local answer = put_schedule(unpack(item))
    answers[i] = {answer, mark_of(known[name])}
  end
end
for name, schedule in pairs(changed) do save_schedule(name, schedule) end
commit()
announce_ticks(now, changed)
if copied and may_write and not next(changed) then redis.call('SET', copied_key, now) end
return cmsgpack.pack(answers)
