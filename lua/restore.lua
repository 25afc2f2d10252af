#!lua
--[=[ restore: jobs and dedupe keys that dump told of -> their places in this store.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, [[id, place, score, definition, state], ...], [[key, id, until_ms], ...]]
         ready: goes to `scheduled` with a score below 0, by its ready time, and so is promoted before what is due;
         arrange gives it the score of its true position
         running: as ready, its lease ended as by release, so that its token is refused; cancelled when it was flagged
         dead, cancelled: give their dedupe key back where they hold it
Reply    msgpack [[answer, ...], [answer, ...]]; per job 'ok' | 'there' | 'too_many_queues', per key 'ok' | 'there' |
         'past'; there: the job exists, or the key is held, and nothing was changed; past: the key's time is up, or
         its job no longer holds it; safe to resend
Errors   OOM, when the store is over its maxmemory; then nothing was written ]=]
--@include now
--@include keys
--@include plan
--@include state
--@include leave
local args = cmsgpack.unpack(ARGV[1])
local now, jobs, keys = now_ms(args[1]), args[2], args[3]
local BEFORE_ALL = 10000000000000

local queue_count, new_queues, known, made, ended = nil, {}, {}, {}, {}

-- has_room_for(queue): the queue is known, or may still be made.
local function has_room_for(queue)
  if known[queue] or redis.call('SISMEMBER', queues_key, queue) == 1 then return true end
  queue_count = queue_count or redis.call('SCARD', queues_key)
  if queue_count >= MAX_QUEUES then return false end
  queue_count = queue_count + 1
  known[queue] = true
  new_queues[#new_queues + 1] = queue
  return true
end

-- place_waiting(id, fields, ready_at): at the front of what is scheduled.
local function place_waiting(id, fields, ready_at)
  zadd(scheduled_key(queue_of(fields), lane_of(fields)), tonumber(ready_at or now) - BEFORE_ALL, id)
  wake(queue_of(fields))
end

local function place_ended(set, bytes_field, id, score, fields, text, header)
  zadd(set, score, id)
  hincr(queue_key(queue_of(fields)), bytes_field, number_of(fields, 'j') + #text)
  if fields.s ~= 's' then
    free_dedupe(id, header)
    ended[id] = true
  end
end

local function place_running(id, text, header)
  local state = parse_state(text)
  if state.z then
    end_lease(id, state, 'c')
    make_cancelled(now, id, state)
    free_dedupe(id, header)
    ended[id] = true
  else
    end_lease(id, state, 'l')
    state.s = 'w'
    save(id, state)
    place_waiting(id, state, state.r or header.r)
  end
end

local function place_job(id, place, score, definition, text)
  local header = parse_fields(definition)
  local fields = text ~= '' and parse_fields(text) or header
  if not has_room_for(queue_of(fields)) then return 'too_many_queues' end
  made[id] = true
  put(job_key(id), definition)
  if place == 'running' then
    place_running(id, text, header)
    return 'ok'
  end
  if text ~= '' then put(state_key(id), text) end
  if place == 'dead' then
    place_ended(dead_key(queue_of(fields)), 'dead_bytes', id, score, fields, text, header)
  elseif place == 'finished' then
    place_ended(done_key(queue_of(fields)), 'done_bytes', id, score, fields, text, header)
  elseif place == 'scheduled' then
    zadd(scheduled_key(queue_of(fields), lane_of(fields)), score, id)
    wake(queue_of(fields))
  else
    place_waiting(id, fields, fields.r or header.r)
  end
  return 'ok'
end

local answers = {}
for i, job in ipairs(jobs) do
  if made[job[1]] or redis.call('EXISTS', job_key(job[1])) == 1 then
    answers[i] = 'there'
  else
    answers[i] = place_job(unpack(job))
  end
end

local held, taken, holders = {}, {}, {}
for i, key in ipairs(keys) do holders[i] = key[2] end
local states = load_states(holders)
for i, key in ipairs(keys) do
  local encoded, id, until_ms = key[1], key[2], key[3]
  local status = states[id] and states[id].s
  if taken[encoded] or redis.call('EXISTS', dedupe_key(encoded)) == 1 then
    held[i] = 'there'
  elseif until_ms <= now or ended[id] or status == 'd' or status == 'c' then
    held[i] = 'past'
  else
    taken[encoded] = {id, until_ms - now}
    held[i] = 'ok'
  end
end
commit()
if #new_queues > 0 then redis.call('SADD', queues_key, unpack(new_queues)) end
for encoded, holder in pairs(taken) do redis.call('SET', dedupe_key(encoded), holder[1], 'PX', holder[2]) end
return cmsgpack.pack({answers, held})
