#!lua flags=allow-oom
--[=[ purge: queued, scheduled -> cancelled, the first of each lane and of what was set aside from it; leaves no tombstones.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, queue, ready, scheduled, limit, reporting]
         ready, scheduled: whether to purge the jobs of these places; limit: entries taken in one call, 1 to 1,000
         reporting: true = the reply has the ids too
Reply    msgpack [cancelled, more, [id, ...]]; cancelled: how many, tombstones not counted; more: stopped at the limit
         the ids of the cancelled jobs, only when reporting
         safe to resend: a repeat goes on with the next jobs
Errors   only those of the store ]=]
--@include now
--@include keys
--@include writes
--@include state
--@include transitions
--@include asides: LANE_OF asides_of lists_of
local args = cmsgpack.unpack(ARGV[1])
local now, queue, limit = now_ms(args[1]), args[2], args[5]
local left, cancelled, seen, pops, cancelled_ids = limit, 0, {}, {}, args[6] and {} or nil

-- cancel_waiting(id, lane, queued): returns whether the entry was a job. An entry of a lane may be a tombstone: its job
-- is deleted, no longer waits, or was enqueued again elsewhere.
local function cancel_waiting(id, lane, queued)
  local text = redis.call('GET', state_key(id))
  local fields, state = job_fields(id), text and parse_state(text)
  if not fields or seen[id] or (state and state.s ~= 'w') then return false end
  if queued and (queue_of(fields) ~= queue or lane_of(fields) ~= lane
    or redis.call('ZSCORE', scheduled_key(queue, lane), id)) then return false end
  if not state then
    state = {s = 'w', result = '', errors = ''}
    adopt(state, fields, redis.call('STRLEN', job_key(id)))
  end
  seen[id] = true
  make_cancelled(now, id, state)
  cancelled = cancelled + 1
  if cancelled_ids then cancelled_ids[cancelled] = id end
  return true
end

-- purge_list(list, lane): purges the lane, or a list set aside from it.
local function purge_list(list, lane)
  local ids = args[3] and left > 0 and redis.call('LRANGE', list, 0, left - 1) or {}
  for _, id in ipairs(ids) do
    if not cancel_waiting(id, lane, true) then hincr(queue_key(queue), 'tombstones_' .. lane, -1) end
  end
  if #ids > 0 then pops[list] = #ids end
  left = left - #ids
end

local lists = lists_of(queue, redis.call('HGET', queue_key(queue), 'aside'))
for _, lane in ipairs(LANES) do
  for _, list in ipairs(lists[lane]) do purge_list(list[1], lane) end
  local scheduled = scheduled_key(queue, lane)
  local ids = args[4] and left > 0 and redis.call('ZRANGE', scheduled, 0, left - 1) or {}
  for _, id in ipairs(ids) do
    zrem(scheduled, id)
    cancel_waiting(id, lane, false)
  end
  left = left - #ids
end
commit()
for list, entries in pairs(pops) do redis.call('LPOP', list, entries) end
return cmsgpack.pack({cancelled, left == 0, cancelled_ids})
