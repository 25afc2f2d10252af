#!lua flags=allow-oom
--[=[ reap: running, its lease expired -> scheduled, dead_letter at the third crash, or cancelled when flagged.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, limit, [delay_ms, ...]]; the delays are used in turn
Reply    msgpack [[[id, outcome], ...], more]; outcome: 'retry' | 'dead' | 'cancelled' | 'orphan'
         orphan: a lease without a running job, removed; more: stopped at the limit
Errors   only those of the store ]=]
--@include now
--@include keys
--@include writes
--@include state
--@include transitions
local args = cmsgpack.unpack(ARGV[1])
local now, limit, delays = now_ms(args[1]), args[2], args[3]

local expired, queue_by_id = {}, {}
for _, queue in ipairs(redis.call('SMEMBERS', queues_key)) do
  if #expired < limit then
    local ids = redis.call('ZRANGEBYSCORE', leases_key(queue), '-inf', now, 'LIMIT', 0, limit - #expired)
    for _, id in ipairs(ids) do
      expired[#expired + 1] = id
      queue_by_id[id] = queue
    end
  end
end
local states = load_states(expired)

-- crash(id, state, delay): returns the outcome. The error names the worker, in whose name JSON has nothing to escape.
local function crash(id, state, delay)
  state.x = number_of(state, 'x') + 1
  add_error(state, now, '{"attempt":' .. number_of(state, 'a') + 1 .. ',"kind":"lease_lapsed","message":"crash '
    .. state.x .. ' of ' .. MAX_CRASHES .. ': no heartbeat from worker ' .. (state.w or '?') .. '","worker":"'
    .. (state.w or '?') .. '"}')
  local outcome = state.z and 'cancelled' or state.x >= MAX_CRASHES and 'dead' or 'retry'
  end_lease(id, state, 'x')
  if outcome == 'cancelled' then
    make_cancelled(now, id, state)
  elseif outcome == 'dead' then
    dead_letter(now, id, state)
  else
    reschedule(id, state, now + delay)
  end
  return outcome
end

local outcomes = {}
for i, id in ipairs(expired) do
  local state = states[id]
  if state and state.s == 'r' and queue_of(state) == queue_by_id[id] then
    outcomes[i] = {id, crash(id, state, delays[(i - 1) % #delays + 1])}
    count(now, 'crashed', 1)
  else
    zrem(leases_key(queue_by_id[id]), id)
    outcomes[i] = {id, 'orphan'}
  end
end
commit()
return cmsgpack.pack({outcomes, #expired >= limit})
