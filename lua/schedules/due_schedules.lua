#!lua flags=no-writes
--[=[ due_schedules: the schedules whose next tick is due, and those of which a tick waits for a job that has ended.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, skip, limit, after, max_bytes]; skip: so many due ticks, the oldest ones; limit: of each kind
         after: a name; of the schedules with a waiting tick, `limit` are looked at whose names follow it
         max_bytes: stop after the record that exceeds it
Reply    msgpack [now_ms, due_in_ms | -1, more, [[name, record], ...], [[name, record], ...], after, waits]
         due_in_ms: when the next tick is due that is not due yet, -1 = none; more: there are due schedules that the
         reply does not have; record: the text of schedule:<name>; first those with a due tick, the oldest first, then those
         whose waiting tick may be fired; after: for the next call, '' = all were looked at
         waits: whether any tick waits for the end of a job
Errors   only those of the store ]=]
--@include now
--@include keys: base job_key state_key
--@include state: parse_fields
--@include schedules: schedule_key ticks_key waiting_ticks_key whole
local args = cmsgpack.unpack(ARGV[1])
local now, skip, limit, after, left = now_ms(args[1]), args[2], args[3], args[4], args[5]

-- add_record(list, name): adds the schedule to the list. Returns false if the reply is full.
local function add_record(list, name)
  if left < 0 then return false end
  local record = redis.call('GET', schedule_key(name))
  if record then
    list[#list + 1] = {name, record}
    left = left - #record
  end
  return true
end

-- has_ended(id): whether the job has finished, or is gone.
local function has_ended(id)
  local state = parse_fields(redis.call('GETRANGE', state_key(id), 0, 1023))
  if state.s == 's' or state.s == 'c' or state.s == 'd' then return true end
  return not state.s and redis.call('EXISTS', job_key(id)) == 0
end

local names = redis.call('ZRANGEBYSCORE', ticks_key, '-inf', now, 'LIMIT', skip, limit + 1)
local due, ended, more = {}, {}, #names > limit
for i = 1, math.min(limit, #names) do more = not add_record(due, names[i]) or more end

local first = after == '' and '-' or '(' .. after
local waiting = redis.call('ZRANGEBYLEX', waiting_ticks_key, first, '+', 'LIMIT', 0, limit)
local looked_at = after
for _, name in ipairs(waiting) do
  local schedule = parse_fields(redis.call('GETRANGE', schedule_key(name), 0, 1023))
  if (not schedule.j or has_ended(schedule.j)) and not add_record(ended, name) then break end
  looked_at = name
end
if looked_at == (waiting[#waiting] or after) and #waiting < limit then looked_at = '' end

local later = redis.call('ZRANGEBYSCORE', ticks_key, '(' .. whole(now), '+inf', 'LIMIT', 0, 1)[1]
local due_in_ms = later and redis.call('ZSCORE', ticks_key, later) - now or -1
return cmsgpack.pack({now, due_in_ms, more, due, ended, looked_at, redis.call('EXISTS', waiting_ticks_key) == 1})
