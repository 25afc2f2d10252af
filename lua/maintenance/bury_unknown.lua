#!lua flags=allow-oom
--[=[ bury_unknown: queued in a list set aside -> dead_letter, if no worker knew its type in time; or -> cancelled, if it
has expired. From the head of each list.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, limit, [[queue, lane, type, ttl_ms], ...], [type, ...]]
         limit: entries looked at in one call, tombstones included
         ttl_ms: jobs that have been ready for longer are dead letters; 0 = none, only expired jobs go
         the types that a live worker knows: their jobs in the lists '*' and '!' stay. Since these have jobs of any type,
         what stays goes to their tail; another list is left at its first job that stays
Reply    msgpack [[id, ...], [id, ...], more]: the dead letters, the expired; more: stopped at the limit
         safe to resend: a repeat goes on with the next jobs
Errors   only those of the store ]=]
--@include now
--@include keys
--@include writes
--@include state
--@include transitions
--@include waiting
--@include asides: type_of
local CHUNK = 16
local args = cmsgpack.unpack(ARGV[1])
local now, left, lists, known = now_ms(args[1]), args[2], args[3], {}
for _, type in ipairs(args[4]) do known[type] = true end
local dead, expired, seen, pops = {}, {}, {}, {}

local function bury(id, state, ttl)
  add_error(state, now, '{"attempt":' .. number_of(state, 'a') + 1 .. ',"kind":"unknown_type","message":"no worker of its '
    .. 'queue knew its type for ' .. math.floor(ttl / 1000) .. ' s"}')
  dead_letter(now, id, state)
  dead[#dead + 1] = id
end

local function has_any_type(list) return list[3] == '*' or list[3] == '!' end

-- is_of(list, definition): whether the list may have the job. Its id may be the tombstone of a job that was cancelled here,
-- and enqueued again with another type.
local function is_of(list, definition)
  return has_any_type(list) or list[3] == type_of(definition)
end

-- stays(list, id): handles the entry at the head of the list, and returns whether it is a job that stays there.
local function stays(list, id)
  local queue, lane, ttl = list[1], list[2], list[4]
  local definition, text = redis.call('GETRANGE', job_key(id), 0, 2047), redis.call('GET', state_key(id))
  local state = text and parse_state(text)
  local is_job = definition ~= '' and not seen[id] and not (state and state.s ~= 'w')
  if not is_job or not is_of(list, definition) or not belongs(queue, lane, id, state or parse_fields(definition)) then
    hincr(queue_key(queue), 'tombstones_' .. lane, -1)
    return false
  end
  local ready_at = tonumber(state and state.r or string.match(definition, '^r=(%d+)') or now)
  local is_late = ttl > 0 and now - ready_at > ttl and not known[type_of(definition)]
  local is_expired = has_expired(now, state, definition)
  if not is_late and not is_expired then return true end
  seen[id] = true
  state = state or new_state(definition, redis.call('STRLEN', job_key(id)))
  if is_expired then
    expire(now, id, state)
    expired[#expired + 1] = id
  else
    bury(id, state, ttl)
  end
  return false
end

for _, list in ipairs(lists) do
  local key, first, ended = aside_key(list[1], list[2], list[3]), 0, false
  local entries = left > 0 and redis.call('LLEN', key) or 0
  while left > 0 and first < entries and not ended do
    local ids = redis.call('LRANGE', key, first, math.min(first + CHUNK, first + left, entries) - 1)
    for _, id in ipairs(ids) do
      left = left - 1
      if stays(list, id) then
        ended = not has_any_type(list)
        if ended then break end
        rpush(key, id)
      end
      first = first + 1
    end
  end
  if first > 0 then pops[key] = first end
end
count(now, 'expired', #expired)
count(now, 'unknown_type', #dead)
commit()
for key, entries in pairs(pops) do redis.call('LPOP', key, entries) end
return cmsgpack.pack({dead, expired, left == 0})
