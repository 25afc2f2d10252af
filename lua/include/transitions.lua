-- Moves out of `running`, and into a terminal state. All of them plan only; needs writes, state.

-- end_lease(id, state, outcome): the token becomes the previous one, with what became of it.
local function end_lease(id, state, outcome)
  zrem(leases_key(queue_of(state)), id)
  state.p, state.o, state.h = token_of(state), outcome, nil
end

-- save(id, state): returns the bytes that the job now takes, definition and state.
local function save(id, state)
  local text = format_state(state)
  put(state_key(id), text)
  return number_of(state, 'j') + #text
end

-- free_dedupe(id, fields): compare-and-delete.
local function free_dedupe(id, fields)
  if fields and fields.k and redis.call('GET', dedupe_key(fields.k)) == id then del(dedupe_key(fields.k)) end
end

-- tell_watchers(id, state): who waits for the end is told, once.
local function tell_watchers(id, state)
  if state.v then publish_end(id) end
  state.v = nil
end

-- finish(now, id, state, status): into `done`, where the score is the time at which the record may go.
local function finish(now, id, state, status)
  state.s, state.f, state.z = status, now, nil
  tell_watchers(id, state)
  local bytes = save(id, state)
  zadd(done_key(queue_of(state)), now + retention_of(state), id)
  hincr(queue_key(queue_of(state)), 'done_bytes', bytes)
end

-- make_cancelled(now, id, state): final; frees the dedupe key.
local function make_cancelled(now, id, state)
  finish(now, id, state, 'c')
  free_dedupe(id, job_fields(id))
  count(now, 'cancelled', 1)
end

-- dead_letter(now, id, state): into the dead-letter queue; frees the dedupe key.
local function dead_letter(now, id, state)
  state.s, state.f = 'd', now
  tell_watchers(id, state)
  local bytes = save(id, state)
  zadd(dead_key(queue_of(state)), now, id)
  hincr(queue_key(queue_of(state)), 'dead_bytes', bytes)
  free_dedupe(id, job_fields(id))
  count(now, 'dead', 1)
end

-- reschedule(id, state, due): back to waiting, due then. The marker tells idle replicas of an earlier due time.
local function reschedule(id, state, due)
  state.s, state.r = 'w', due
  save(id, state)
  zadd(scheduled_key(queue_of(state), lane_of(state)), due, id)
  wake(queue_of(state))
end
