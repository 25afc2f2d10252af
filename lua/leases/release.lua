#!lua flags=allow-oom
--[=[ release: running -> queued, at the head of its lane, by the lease holder; spends no attempt.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, [[id, token, lease_ms | nothing, type | nothing], ...]]; the first of the list is first in its
         lane then, or in the list set aside of its type if there is one
         lease_ms: of the claim; if it is there, release only a job whose lease has not been extended since
         type: of a job that its worker does not know: it is set aside. While nothing may be set aside, it is delayed
         by 1 s and a little more each
Reply    msgpack [status, ...], one per job: 'ok' | 'lost'; lost: also a job whose lease was extended
         a job flagged for cancel becomes cancelled, and is answered 'ok'
         the same token again is answered 'ok': safe to resend
Errors   only those of the store ]=]
--@include now
--@include keys
--@include writes
--@include state
--@include transitions
--@include asides: LETTER_OF type_of
--@include features: features_in_use has_word is_open
--@include naming
local DELAY = 1000
local args = cmsgpack.unpack(ARGV[1])
local now, items = now_ms(args[1]), args[2]
local ids = {}
for i, item in ipairs(items) do ids[i] = item[1] end
local states = load_states(ids)

-- A job that is released this often never gets the time that it needs.
local OFTEN = 10
local statuses, released, types, set_aside, often = {}, {}, {}, 0, 0
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
      if not item[4] then
        state.R = number_of(state, 'R') + 1
        if state.R % OFTEN == 0 then often = often + 1 end
      end
      released[#released + 1] = id
      types[id] = item[4]
    end
    statuses[i] = 'ok'
  end
end
-- named_type(id, state): the type of the job, if its queue has a list set aside for it.
local function named_type(id, state)
  local queue, lane = queue_of(state), lane_of(state)
  if names_of(queue).text == ' ' then return nil end
  local type = type_of(redis.call('GETRANGE', job_key(id), 0, 2047))
  return type ~= '' and is_named(queue, lane, type) and type or nil
end

for i = #released, 1, -1 do
  local id, unknown = released[i], types[released[i]]
  local state = states[id]
  local queue, lane, type = queue_of(state), lane_of(state), nil
  if unknown then type = list_for(queue, lane, unknown, false) else type = named_type(id, state) end
  if unknown and not type then
    reschedule(id, state, now + DELAY + i * 37 % 500)
  else
    save(id, state)
    if number_of(state, 'x') >= SUSPECT and may_set_aside() then
      set_suspect_aside(queue, lane, id)
    else
      lpush(type and aside_key(queue, lane, type) or ready_key(queue, lane), id)
      if type then wake_type(queue, type) else wake(queue) end
    end
    if unknown then set_aside = set_aside + 1 end
  end
end
count(now, 'released', #released)
count(now, 'set_aside', set_aside)
count(now, 'released_often', often)
commit()
write_names()
return cmsgpack.pack(statuses)
