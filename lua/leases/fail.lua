#!lua flags=allow-oom
--[=[ fail: running -> scheduled, dead_letter, or cancelled when flagged, by the lease holder; spends an attempt, unless
the handler has snoozed the job.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, [[id, token, error, delay_ms, dead, snooze | nothing], ...]]
         error: JSON on one line, of at most 4 kB; the last 10 are kept
         delay_ms: until the next attempt, with its jitter; dead: true = no further attempt
         snooze: true = run again after the delay. The error is not kept, unless the job was snoozed 1,000 times in this
         run: then it becomes dead
Reply    msgpack [status, ...], one per job: 'retry' | 'snoozed' | 'dead' | 'cancelled' | 'lost'
         a repeat with the same token is answered as before: safe to resend
Errors   only those of the store ]=]
--@include now
--@include keys: base job_key state_key ready_key scheduled_key leases_key dead_key done_key dedupe_key alone_key queue_key
--@include keys: wake_key stats_key stats_minute_key finished_channel
--@include writes: writes writes_list put zrem zadd rpush hincr del wake publish_end count in_chunks commit
--@include state: ERRORS_KEPT parse_fields parse_state format_state add_error load_states number_of queue_of lane_of
--@include state: retention_of max_attempts_of token_of holds answered job_fields
--@include transitions
local args = cmsgpack.unpack(ARGV[1])
local now, items = now_ms(args[1]), args[2]
local ids = {}
for i, item in ipairs(items) do ids[i] = item[1] end
local states = load_states(ids)

local MAX_SNOOZES = 1000
local OUTCOMES = {r = 'retry', n = 'snoozed', d = 'dead', c = 'cancelled'}
local statuses, retried, snoozed = {}, 0, 0
for i, item in ipairs(items) do
  local id, token, state = item[1], item[2], states[item[1]]
  if holds(state, token) then
    local snoozes = item[6] and number_of(state, 'S') < MAX_SNOOZES
    if not snoozes then
      state.a = number_of(state, 'a') + 1
      add_error(state, now, item[3])
    end
    if state.z then
      end_lease(id, state, 'c')
      make_cancelled(now, id, state)
    elseif snoozes then
      state.S = number_of(state, 'S') + 1
      end_lease(id, state, 'n')
      reschedule(id, state, now + item[4])
      snoozed = snoozed + 1
    elseif item[5] or item[6] or state.a >= max_attempts_of(state) then
      end_lease(id, state, 'd')
      dead_letter(now, id, state)
    else
      end_lease(id, state, 'r')
      reschedule(id, state, now + item[4])
      retried = retried + 1
    end
    statuses[i] = OUTCOMES[state.o]
  else
    statuses[i] = answered(state, token, 'rndc') and OUTCOMES[state.o] or 'lost'
  end
end
count(now, 'retried', retried)
count(now, 'snoozed', snoozed)
commit()
return cmsgpack.pack(statuses)
