-- The entries of lanes and of lists set aside. Needs keys, state, transitions.

-- belongs(queue, lane, id, fields): whether this is the job's place. Its id may be the tombstone of a job that was
-- cancelled here, whose record was deleted and whose id was enqueued again, to run elsewhere or later.
local function belongs(queue, lane, id, fields)
  return queue_of(fields) == queue and lane_of(fields) == lane
    and not redis.call('ZSCORE', scheduled_key(queue, lane), id)
end

-- has_expired(now, state, definition): whether it was never claimed, and x ms have passed since it was created.
local function has_expired(now, state, definition)
  if state and state.n then return false end
  local others = string.match(definition, '^r=%d+( [^\n]*)')
  local within = others and string.match(others, ' x=(%d+)')
  if not within then return false end
  local created = string.match(others, ' c=(%d+)') or string.match(definition, '^r=(%d+)')
  return now >= tonumber(created) + tonumber(within)
end

-- new_state(definition, bytes): the state of a job that has none yet.
local function new_state(definition, bytes)
  local state = {s = 'w', result = '', errors = ''}
  adopt(state, parse_fields(definition), bytes)
  return state
end

-- expire(now, id, state): cancels the job.
local function expire(now, id, state)
  add_error(state, now, '{"attempt":1,"kind":"expired","message":"expired before it started"}')
  make_cancelled(now, id, state)
end
