#!lua flags=allow-oom
--[=[ release: running -> queued, at the head of its lane, by the lease holder; spends no attempt.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, [[id, token, lease_ms | nothing], ...]]; the first of the list is first in its lane then
         lease_ms: of the claim; if it is there, release only a job whose lease has not been extended since
Reply    msgpack [status, ...], one per job: 'ok' | 'lost'; lost: also a job whose lease was extended
         a job flagged for cancel becomes cancelled, and is answered 'ok'
         the same token again is answered 'ok': safe to resend
Errors   only those of the store ]=]
--@include now
--@include keys
--@include writes
--@include state
--@include transitions
local args = cmsgpack.unpack(ARGV[1])
local now, items = now_ms(args[1]), args[2]
local ids = {}
for i, item in ipairs(items) do ids[i] = item[1] end
local states = load_states(ids)

local statuses, released = {}, {}
for i, item in ipairs(items) do
  local id, token, state = item[1], item[2], states[item[1]]
  local extended = item[3] and holds(state, token)
    and tonumber(redis.call('ZSCORE', leases_key(queue_of(state)), id)) ~= number_of(state, 'b') + item[3]
  if extended then
    statuses[i] = 'lost'
  elseif not holds(state, token) then
    statuses[i] = answered(state, token, 'lc') and 'ok' or 'lost'
  else
    if state.z then
      end_lease(id, state, 'c')
      make_cancelled(now, id, state)
    else
      end_lease(id, state, 'l')
      state.s = 'w'
      save(id, state)
      released[#released + 1] = id
    end
    statuses[i] = 'ok'
  end
end
for i = #released, 1, -1 do
  local state = states[released[i]]
  lpush(ready_key(queue_of(state), lane_of(state)), released[i])
  wake(queue_of(state))
end
count(now, 'released', #released)
commit()
return cmsgpack.pack(statuses)
