#!lua flags=allow-oom
--[=[ cancel: queued, scheduled -> cancelled; running: flagged, and its worker is notified.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, channel, [id, ...]]; channel: where the ids of flagged jobs are published
Reply    msgpack [status, ...], one per id: 'cancelled' | 'cancelling' | 'finished' | 'missing'
         a cancelled job is answered 'cancelled' again, a flagged one 'cancelling': safe to resend
Errors   only those of the store ]=]
--@include now
--@include keys
--@include writes
--@include state
--@include transitions
local args = cmsgpack.unpack(ARGV[1])
local now, channel, ids = now_ms(args[1]), args[2], args[3]
local states = load_states(ids)

-- cancel_waiting(id, state): removes the id from `scheduled`. In a lane it stays as a tombstone, since finding it there
-- would mean walking the list.
local function cancel_waiting(id, state)
  local scheduled = scheduled_key(queue_of(state), lane_of(state))
  if redis.call('ZSCORE', scheduled, id) then
    zrem(scheduled, id)
  else
    hincr(queue_key(queue_of(state)), 'tombstones_' .. lane_of(state), 1)
  end
  make_cancelled(now, id, state)
end

local statuses, flagged = {}, {}
for i, id in ipairs(ids) do
  local state = states[id]
  local fields = not state and job_fields(id)
  if fields then
    state = {s = 'w', result = '', errors = ''}
    adopt(state, fields, redis.call('STRLEN', job_key(id)))
    states[id] = state
  end
  if not state then
    statuses[i] = 'missing'
  elseif state.s == 'w' then
    cancel_waiting(id, state)
    statuses[i] = 'cancelled'
  elseif state.s == 'r' then
    if not state.z then
      state.z = 1
      save(id, state)
    end
    flagged[#flagged + 1] = id
    statuses[i] = 'cancelling'
  else
    statuses[i] = state.s == 'c' and 'cancelled' or 'finished'
  end
end
commit()
for _, id in ipairs(flagged) do redis.call('PUBLISH', channel, id) end
return cmsgpack.pack(statuses)
