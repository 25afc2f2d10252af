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
local args = cmsgpack.unpack(ARGV[1])
local now, request_id, ids = now_ms(args[1]), args[2], args[3]
local states = load_states(ids)

-- waiting_state(id): returns a state for a job that was never claimed; nil when there is no such job.
local function waiting_state(id)
  local fields = job_fields(id)
  if not fields then return nil end
  local state = {s = 'w', result = '', errors = ''}
  adopt(state, fields, redis.call('STRLEN', job_key(id)))
  return state
end

local answers, hastened = {}, 0
for i, id in ipairs(ids) do
  local state = states[id] or waiting_state(id)
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
