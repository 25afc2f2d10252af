-- Moves out of `running`, and into a final status. All of them only plan their writes. Needs writes, state.

-- end_lease(id, state, outcome): the token becomes the previous token, with its outcome. A worker that ran only this job
-- may claim again.
local function end_lease(id, state, outcome)
  zrem(leases_key(queue_of(state)), id)
  if state.A == 'a' then del(alone_key(state.w)) end
  state.p, state.o, state.h, state.A, state.N = token_of(state), outcome, nil, nil, nil
end

-- save(id, state): returns the bytes that definition and state now take.
local function save(id, state)
  local text = format_state(state)
  put(state_key(id), text)
  return number_of(state, 'j') + #text
end

-- free_dedupe(now, id, fields, following): deletes the key of a job, by its dedupe_key or `unique`, if the job still has it.
-- If a job is to follow it (dedupe:a:<id>, written by enqueue), that one is enqueued, and takes the key unless another
-- job has it by now. fields: of the definition's header. following: the text of that key, if the caller has it.
local function free_dedupe(now, id, fields, following)
  if not fields or not fields.k then return end
  local key = dedupe_key(fields.k)
  local held = writes.held or {}
  local holder = held[key]
  if holder == nil then holder = redis.call('GET', key) end
  following = following or fields.U == 'f' and redis.call('GET', dedupe_key('a:' .. id))
  if following then del(dedupe_key('a:' .. id)) end
  local next_id, delay_ms, run_at, head, body = string.match(following or '', '^(%S+) (%d+) (%d+)\n([^\n]*)\n(.*)$')
  if not next_id or redis.call('EXISTS', job_key(next_id)) == 1 then
    if holder == id then
      del(key)
      writes.held, held[key] = held, false
    end
    return
  end
  local its, due = parse_fields(head), tonumber(run_at)
  if due == 0 then due = now + tonumber(delay_ms) end
  local times = due > now and string.format('r=%d c=%d ', due, now) or string.format('r=%d ', now)
  local queue, lane = queue_of(its), lane_of(its)
  put(job_key(next_id), times .. head .. '\n' .. body)
  if due > now then zadd(scheduled_key(queue, lane), due, next_id) else rpush(ready_key(queue, lane), next_id) end
  if not holder or holder == id then
    writes.expiring = writes.expiring or {}
    writes.expiring[key] = {next_id, tonumber(its.e or 86400000)}
    writes.held, held[key] = held, next_id
  end
  wake(queue)
  count(now, 'enqueued', 1)
end

-- publish_if_watched(id, state): notifies the clients that wait for the end, once.
local function publish_if_watched(id, state)
  if state.v then publish_end(id) end
  state.v = nil
end

-- finish(now, id, state, status): moves the job to `done`, where the score is the time at which trim may delete it.
local function finish(now, id, state, status)
  state.s, state.f, state.z = status, now, nil
  publish_if_watched(id, state)
  local bytes = save(id, state)
  zadd(done_key(queue_of(state)), now + retention_of(state), id)
  hincr(queue_key(queue_of(state)), 'done_bytes', bytes)
end

-- make_cancelled(now, id, state): cancels the job and frees its key.
local function make_cancelled(now, id, state)
  finish(now, id, state, 'c')
  free_dedupe(now, id, job_fields(id))
  count(now, 'cancelled', 1)
end

-- dead_letter(now, id, state): moves the job to the dead-letter queue and frees its key.
local function dead_letter(now, id, state)
  state.s, state.f = 'd', now
  publish_if_watched(id, state)
  local bytes = save(id, state)
  zadd(dead_key(queue_of(state)), now, id)
  hincr(queue_key(queue_of(state)), 'dead_bytes', bytes)
  free_dedupe(now, id, job_fields(id))
  count(now, 'dead', 1)
end

-- reschedule(id, state, due): has the job wait until it is due. The marker wakes idle replicas, which then learn of an
-- earlier due time.
local function reschedule(id, state, due)
  state.s, state.r = 'w', due
  save(id, state)
  zadd(scheduled_key(queue_of(state), lane_of(state)), due, id)
  wake(queue_of(state))
end
