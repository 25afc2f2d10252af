#!lua flags=allow-oom
--[=[ complete: running -> succeeded, by the lease holder; wins over a flag for cancel.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, [[id, token, result], ...]]; result: JSON on one line, '' = none
Reply    msgpack [status, ...], one per job: 'ok' | 'lost'
         the same token again is answered 'ok': safe to resend
Errors   none of its own ]=]
--@include now
--@include keys
--@include plan
--@include state
--@include leave
local args = cmsgpack.unpack(ARGV[1])
local now, items = now_ms(args[1]), args[2]
local ids = {}
for i, item in ipairs(items) do ids[i] = item[1] end
local states = load_states(ids)

local statuses, completed = {}, 0
for i, item in ipairs(items) do
  local id, token, state = item[1], item[2], states[item[1]]
  if holds(state, token) then
    end_lease(id, state, 's')
    state.result = item[3]
    finish(now, id, state, 's')
    completed = completed + 1
    statuses[i] = 'ok'
  else
    statuses[i] = answered(state, token, 's') and 'ok' or 'lost'
  end
end
count(now, 'succeeded', completed)
commit()
return cmsgpack.pack(statuses)
