#!lua
--[=[ replay: dead_letter -> queued, a new run, in its own queue and lane.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, replay_id, [id, ...]]; replay_id: random, one per request
         attempts and crashes become 0; claims and errors are kept; the dedupe key is taken anew
Reply    msgpack [answer, ...], one per id: 'ok' | 'duplicate' | 'missing'
         duplicate: another job holds its dedupe key; missing: not in the dead-letter queue
         the same replay_id again is answered 'ok': safe to resend
Errors   OOM, when the store is over its maxmemory; then nothing was written ]=]
--@include now
--@include keys
--@include plan
--@include state
local args = cmsgpack.unpack(ARGV[1])
local now, replay_id, ids = now_ms(args[1]), args[2], args[3]
local states = load_states(ids)

local answers, taken, replayed = {}, {}, 0
for i, id in ipairs(ids) do
  local state = states[id]
  local fields = state and state.s == 'd' and job_fields(id)
  if state and state.y == replay_id then
    answers[i] = 'ok'
  elseif not fields then
    answers[i] = 'missing'
  else
    local holder = fields.k and (taken[fields.k] or redis.call('GET', dedupe_key(fields.k)))
    if holder and holder ~= id then
      answers[i] = 'duplicate'
    else
      local queue, lane = queue_of(state), lane_of(state)
      hincr(queue_key(queue), 'dead_bytes', -(number_of(state, 'j') + redis.call('STRLEN', state_key(id))))
      zrem(dead_key(queue), id)
      state.s, state.a, state.x, state.f, state.z, state.r, state.y = 'w', nil, nil, nil, nil, now, replay_id
      put(state_key(id), format_state(state))
      rpush(ready_key(queue, lane), id)
      wake(queue)
      if fields.k then taken[fields.k] = id end
      replayed = replayed + 1
      answers[i] = 'ok'
    end
  end
end
count(now, 'replayed', replayed)
commit()
for encoded, id in pairs(taken) do
  redis.call('SET', dedupe_key(encoded), id, 'PX', math.max(1, tonumber(job_fields(id).e or 86400000)))
end
return cmsgpack.pack(answers)
