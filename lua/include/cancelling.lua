-- How a job is cancelled that has not finished. Needs keys, writes, state, transitions.

-- unstarted_state(id): the state of a job that has none yet; nil if there is no such job.
local function unstarted_state(id)
  local fields = job_fields(id)
  if not fields then return nil end
  local state = {s = 'w', result = '', errors = ''}
  adopt(state, fields, redis.call('STRLEN', job_key(id)))
  return state
end

-- cancel_waiting(now, id, state): cancels a waiting job, and removes its id from `scheduled`. In a lane it stays as a
-- tombstone, since finding it there would mean walking the list.
local function cancel_waiting(now, id, state)
  local scheduled = scheduled_key(queue_of(state), lane_of(state))
  if redis.call('ZSCORE', scheduled, id) then
    zrem(scheduled, id)
  else
    hincr(queue_key(queue_of(state)), 'tombstones_' .. lane_of(state), 1)
  end
  make_cancelled(now, id, state)
end

-- flag_running(id, state): asks for the end of a running job. Its worker is notified by publish_flagged().
local flagged = {}
local function flag_running(id, state)
  if not state.z then
    state.z = 1
    save(id, state)
  end
  flagged[#flagged + 1] = id
end

-- publish_flagged(channel): notifies the workers of flagged jobs.
local function publish_flagged(channel)
  for _, id in ipairs(flagged) do redis.call('PUBLISH', channel, id) end
end
