#!lua flags=allow-oom
--[=[ reap: running, its lease expired -> scheduled; from the second crash on queued, as a suspect; dead_letter if it
was alone on its worker at its third crash or a later one; or cancelled when flagged.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, limit, [delay_ms, ...], by_ms | nothing]; the delays are used in turn
         by_ms: after this time nothing is done. A store that was silent runs the call when it is back, and then leases
         have expired that nobody could renew
Reply    msgpack [[[id, outcome], ...], more, now_ms]; outcome: 'retry' | 'suspect' | 'dead' | 'cancelled' | 'orphan'
         suspect: it waits in the list of suspects of its lane. A run in a child process ends by itself, so an expired lease
         means that its worker died of something else: such a job is dead only at the tenth crash
         until jobs may be set aside on this shard, the third crash makes a job dead
         orphan: a lease without a running job, removed; more: stopped at the limit
Errors   only those of the store ]=]
--@include now
--@include keys
--@include writes
--@include state
--@include transitions
--@include asides: LETTER_OF
--@include features: features_in_use has_word is_open
--@include naming
local args = cmsgpack.unpack(ARGV[1])
local now, limit, delays, by_ms = now_ms(args[1]), args[2], args[3], args[4]
if by_ms and now > by_ms then return cmsgpack.pack({{}, false, now}) end

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

local sets_aside = may_set_aside()

-- outcome_of(state): what follows its crash, which is counted already.
local function outcome_of(state)
  if state.z then return 'cancelled' end
  if not sets_aside then return state.x >= MAX_CRASHES and 'dead' or 'retry' end
  if state.x < SUSPECT then return 'retry' end
  local is_proven = state.A == 'a' and state.x >= MAX_CRASHES
  return (is_proven or state.x >= MAX_SUSPECT_CRASHES) and 'dead' or 'suspect'
end

-- crash(id, state, delay): returns the outcome. The error names the worker, in whose name JSON has nothing to escape.
local function crash(id, state, delay)
  state.x = number_of(state, 'x') + 1
  add_error(state, now, '{"attempt":' .. number_of(state, 'a') + 1 .. ',"kind":"lease_lapsed","message":"crash '
    .. state.x .. (sets_aside and '' or ' of ' .. MAX_CRASHES) .. ': no heartbeat from worker ' .. (state.w or '?')
    .. '","worker":"' .. (state.w or '?') .. '"}')
  local outcome = outcome_of(state)
  end_lease(id, state, 'x')
  if outcome == 'cancelled' then
    make_cancelled(now, id, state)
  elseif outcome == 'dead' then
    dead_letter(now, id, state)
  elseif outcome == 'suspect' then
    state.s, state.r = 'w', now
    save(id, state)
    set_suspect_aside(queue_of(state), lane_of(state), id)
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
write_names()
return cmsgpack.pack({outcomes, #expired >= limit, now})
