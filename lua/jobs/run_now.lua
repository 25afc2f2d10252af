#!lua flags=allow-oom
--[=[ run_now: scheduled -> queued now, at the tail of its lane.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, request_id, [id, ...]]; request_id: random, one per request
Reply    msgpack [answer, ...], one per id: 'ok' | 'not_scheduled' | 'missing'
         the same request_id again is answered 'ok': safe to resend
Errors   only those of the store ]=]
--@include now
--@include keys
--@include writes
--@include state
--@include cancelling: unstarted_state
local args = cmsgpack.unpack(ARGV[1])
local now, request_id, ids = now_ms(args[1]), args[2], args[3]
local states = load_states(ids)

local answers, hastened = {}, 0
for i, id in ipairs(ids) do
  local state = states[id] or unstarted_state(id)
  if not state then
    answers[i] = 'missing'
  elseif state.y == request_id then
    answers[i] = 'ok'
  else
    local queue, lane = queue_of(state), lane_of(state)
    if state.s == 'w' and redis.call('ZSCORE', scheduled_key(queue, lane), id) then
      zrem(scheduled_key(queue, lane), id)
      rpush(ready_key(queue, lane), id)
      wake(queue)
      state.r, state.y = now, request_id
      put(state_key(id), format_state(state))
      states[id] = state
      hastened = hastened + 1
      answers[i] = 'ok'
    else
      answers[i] = 'not_scheduled'
    end
  end
end
count(now, 'hastened', hastened)
commit()
return cmsgpack.pack(answers)
