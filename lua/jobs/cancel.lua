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
--@include cancelling
local args = cmsgpack.unpack(ARGV[1])
local now, channel, ids = now_ms(args[1]), args[2], args[3]
local states = load_states(ids)

local statuses = {}
for i, id in ipairs(ids) do
  local state = states[id]
  if not state then
    state = unstarted_state(id)
    states[id] = state
  end
  if not state then
    statuses[i] = 'missing'
  elseif state.s == 'w' then
    cancel_waiting(now, id, state)
    statuses[i] = 'cancelled'
  elseif state.s == 'r' then
    flag_running(id, state)
    statuses[i] = 'cancelling'
  else
    statuses[i] = state.s == 'c' and 'cancelled' or 'finished'
  end
end
commit()
publish_flagged(channel)
return cmsgpack.pack(statuses)
