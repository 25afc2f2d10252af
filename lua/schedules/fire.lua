#!lua
--[=[ fire: a tick of a schedule -> a new job, as enqueue makes it, unless the overlap rule says otherwise.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, full, channel, [[name, mark, kind, tick, expected, next | -1, due, overlap, missed, job], ...],
         copied]
         full, copied: as in enqueue; channel: as in cancel
         mark: '<uid>.<version>', so that a schedule that was replaced since it was read does nothing
         kind: 'tick': the schedule's next tick is expected; the job is for `tick`, which is the same or a later one, and
         `missed` ticks before it get none; then `next` is its next tick, -1 = none, and `due` is when that is fired.
         'pending': the tick that waits is expected. 'move': only `next` and `due` change, if the next tick is expected.
         'trigger', 'backfill': a job more, also of a paused schedule; its next tick stays
         overlap: what to do while the schedule's last job has not finished: 'skip'; 'queue_one': the tick waits, or is
         skipped if one waits already; 'allow'; 'cancel_previous': as cancel does, and the new job does not wait for the end
         job: an item of enqueue without a dedupe key. Of a tick, also of a backfill, its id is made of uid and tick; of a
         trigger the client made it; nil: all ticks are missed; 'refused': the caller may not make the job of this tick
Reply    msgpack [[answer, ...], [id, ...], now_ms], with one answer per item, the ids of waiting jobs that were cancelled,
         and the store's time: 'fired' | 'skipped' | 'pending' (the tick waits) | 'missed' | 'refused' | 'moved' |
         'there' (this tick, or this trigger, has its job or had it; `next` changes as if it had been fired) |
         'full' (nothing but the history changes, so the tick stays due) | 'too_many_queues' (the tick is over) |
         and nothing was done: 'missing' | 'conflict' (another mark) | 'paused' | 'taken' (another tick is expected; or
         the job to be cancelled was made by this very call) | 'early' (by the store's clock the
         tick, or the expected one, is not due) | 'not_later' (next is not
         after the tick); safe to resend: it is 'taken' or 'there', and
         nothing is written except for `copied`
         history: one line for what is fired, skipped, missed, refused, full, too_many_queues; of a trigger or backfill only
         if fired
Errors   OOM, when the store is over its maxmemory; then nothing was written ]=]
--@include now
--@include keys
--@include writes
--@include state
--@include transitions
--@include new_jobs
--@include cancelling
--@include schedules
local args = cmsgpack.unpack(ARGV[1])
local now, full, channel, items, copied = now_ms(args[1]), args[2], args[3], args[4], args[5]
local schedules, changed, made, cancelled, created = {}, {}, {}, {}, 0

-- is_pending(schedule, job): whether a tick waits, and this is its job, or that was refused.
local function is_pending(schedule, job) return schedule.i and (job == 'refused' or job and job[1] == schedule.i) end

-- refusal(schedule, item): why nothing is done; nil if the item is what the schedule expects.
local function refusal(schedule, item)
  local _, mark, kind, tick, expected, next = unpack(item, 1, 6)
  if not schedule then return 'missing' end
  if mark_of(schedule) ~= mark then return 'conflict' end
  if kind == 'trigger' or kind == 'backfill' then return tick > now and 'early' or nil end
  if schedule.pause ~= '' then return 'paused' end
  if tonumber(kind == 'pending' and schedule.p or schedule.n or -1) ~= expected then return 'taken' end
  if kind == 'pending' then return not is_pending(schedule, item[10]) and 'taken' or nil end
  if kind == 'move' then return nil end
  if expected < 0 then return 'taken' end
  if tick < expected or next >= 0 and next <= tick then return 'not_later' end
  return (tick > now or tonumber(schedule.d or 0) > now) and 'early' or nil
end

-- had_run(name, id): whether the history says that this job was made. The job may have been deleted since.
local function had_run(name, id)
  for _, line in ipairs(redis.call('LRANGE', runs_key(name), 0, MOST_RUNS)) do
    if string.find(line, ' ' .. id .. ' ', 1, true) then return true end
  end
  return false
end

-- has_job(schedule, item): whether the tick has its job already, or had it.
local function has_job(schedule, item)
  local name, _, kind, tick = unpack(item)
  local job = item[10]
  if kind == 'tick' and schedule.t and tick <= tonumber(schedule.t) then return true end
  if not job or job == 'refused' then return false end
  return made[job[1]] or redis.call('EXISTS', job_key(job[1])) == 1 or kind ~= 'tick' and had_run(name, job[1])
end

-- unfinished(id): the state of the job if it has not finished; nil if it has, or if there is none.
local function unfinished(id)
  local state = id and (load_states({id})[id] or unstarted_state(id))
  return state and (state.s == 'w' or state.s == 'r') and state or nil
end

-- record(item, outcome, id): adds a line to the history.
local function record(item, outcome, id)
  local name, _, kind, tick = unpack(item)
  local is_own = kind == 'tick' or kind == 'pending'
  if kind == 'pending' then kind = schedules[name].k end
  if is_own or outcome == 'fired' then add_run(name, tick, now, kind, outcome, id) end
end

-- settle(schedule, item, answer): the tick is over, so the schedule goes on. Returns the answer.
local RECORDED = {fired = true, skipped = true, refused = true, too_many_queues = true}
local function settle(schedule, item, answer)
  local name, _, kind, tick, expected, next, due, _, missed, job = unpack(item, 1, 10)
  if kind == 'tick' and answer ~= 'there' then
    if missed > 0 then add_run(name, expected, now, kind, 'missed', nil, missed) end
    schedule.t = whole(tick)
  end
  if RECORDED[answer] then record(item, answer, answer == 'fired' and job[1] or nil) end
  if kind == 'tick' or kind == 'move' then set_next(schedule, next, due) end
  if kind == 'pending' then drop_pending(schedule) end
  if answer == 'fired' or kind ~= 'trigger' and kind ~= 'backfill' then changed[name] = schedule end
  return answer
end

-- keep_waiting(schedule, item): the tick waits for the end of the last job, if no other one does.
local function keep_waiting(schedule, item)
  local kind, tick, id = item[3], item[4], item[10][1]
  if schedule.i == id then return 'pending' end
  if schedule.p or schedule.pause ~= '' then return nil end
  schedule.p, schedule.i, schedule.k = whole(tick), id, kind
  changed[item[1]] = schedule
  return 'pending'
end

-- note_full(item): the history says once that the store was full at this tick.
local function note_full(item)
  if string.match(last_run(item[1]), '^(%d+) %d+ %a+ full ') ~= whole(item[4]) then record(item, 'full') end
  return 'full'
end

-- cancel_last(schedule, state): cancels or flags the last job.
local function cancel_last(schedule, state)
  if state.s == 'r' then return flag_running(schedule.j, state) end
  cancel_waiting(now, schedule.j, state)
  cancelled[#cancelled + 1] = schedule.j
end

-- start(schedule, item, last): makes the job. last: the state of the last job, if it is to be cancelled.
local function start(schedule, item, last)
  local job = item[10]
  if full then return note_full(item) end
  if not has_room_for(job[2]) then return settle(schedule, item, 'too_many_queues') end
  if last then cancel_last(schedule, last) end
  add_job(now, job_key(job[1]), job)
  made[job[1]], schedule.j, created = true, job[1], created + 1
  return settle(schedule, item, 'fired')
end

-- fire(schedule, item): the answer to an item that the schedule expects.
local function fire(schedule, item)
  local kind, overlap, job = item[3], item[8], item[10]
  if kind == 'move' then return settle(schedule, item, 'moved') end
  if has_job(schedule, item) then return settle(schedule, item, 'there') end
  if not job or job == 'refused' then return settle(schedule, item, job or 'missed') end
  if overlap == 'allow' then return start(schedule, item) end
  local is_new = made[schedule.j or '']
  local last = not is_new and unfinished(schedule.j)
  if not is_new and not last then return start(schedule, item) end
  if overlap == 'cancel_previous' then return is_new and 'taken' or start(schedule, item, last) end
  if kind == 'pending' then return 'pending' end
  local waits = overlap == 'queue_one' and keep_waiting(schedule, item)
  return settle(schedule, item, waits or 'skipped')
end

local answers = {}
for i, item in ipairs(items) do
  local name = item[1]
  schedules[name] = schedules[name] or load_schedule(name)
  answers[i] = refusal(schedules[name], item) or fire(schedules[name], item)
end
count(now, 'enqueued', created)
for name, schedule in pairs(changed) do save_schedule(name, schedule) end
commit()
if #new_queues > 0 then redis.call('SADD', queues_key, unpack(new_queues)) end
write_runs()
publish_flagged(channel)
if copied and not next(changed) then redis.call('SET', copied_key, now) end
return cmsgpack.pack({answers, cancelled, now})
