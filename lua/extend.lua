#!lua flags=allow-oom
--[=[ extend: a running job's lease, by its holder, to now + lease_ms; rewrites no state.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, lease_ms, [[id, token], ...]]
Reply    msgpack [status, ...], one per job: 'ok' | 'lost' | 'cancelled'
         cancelled: extended all the same, and flagged for cancel: stop it, and report it as failed
Errors   none of its own ]=]
--@include now
--@include keys
--@include plan
--@include state
local args = cmsgpack.unpack(ARGV[1])
local now, lease_ms, items = now_ms(args[1]), args[2], args[3]
local ids = {}
for i, item in ipairs(items) do ids[i] = item[1] end
local states = load_states(ids)

local statuses = {}
for i, item in ipairs(items) do
  local state = states[item[1]]
  if not holds(state, item[2]) then
    statuses[i] = 'lost'
  else
    zadd(leases_key(queue_of(state)), now + lease_ms, item[1])
    statuses[i] = state.z and 'cancelled' or 'ok'
  end
end
commit()
return cmsgpack.pack(statuses)
