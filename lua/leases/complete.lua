#!lua flags=allow-oom
--[=[ complete: running -> succeeded, by the lease holder, even if the job is flagged for cancel.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, [[id, token, result], ...]]; result: JSON on one line, '' = none
Reply    msgpack [status, ...], one per job: 'ok' | 'lost'
         the same token again is answered 'ok': safe to resend
Errors   only those of the store ]=]
--@include now
--@include keys
--@include writes
--@include state
--@include transitions
--@include fast_path
local args = cmsgpack.unpack(ARGV[1])
local now, items = now_ms(args[1]), args[2]
local keys, texts = {}, {}
for i, item in ipairs(items) do keys[i] = state_key(item[1]) end
-- An id that is in the call twice has the second time the state that the first left.
for i, text in ipairs(#keys > 0 and redis.call('MGET', unpack(keys)) or {}) do texts[keys[i]] = text end

local statuses, completed = {}, 0
local now_text = string.format('%d', now)

-- complete_first(id, key, token, tail, read, result): does what end_lease and finish do, with a state
-- that stays text, and returns that text. `tail` and `read` come from first_attempt.
local function complete_first(id, key, token, tail, read, result)
  local done = 's=s n=1 p=' .. token .. ' o=s f=' .. now_text .. ' ' .. tail
  if result ~= '' then done = done .. '\n' .. result end
  if not read.score then
    read.done_key, read.leases_key, read.queue_key = done_key(read.queue), leases_key(read.queue), queue_key(read.queue)
    read.score = string.format('%d', now + read.retention)
  end
  put(key, done)
  zadd(read.done_key, read.score, id)
  zrem(read.leases_key, id)
  hincr(read.queue_key, 'done_bytes', read.bytes + #done)
  return done
end

-- complete_any(id, key, token, result): returns the status.
local function complete_any(id, key, token, result)
  local state = texts[key] and parse_state(texts[key]) or nil
  if not holds(state, token) then return answered(state, token, 's') and 'ok' or 'lost' end
  end_lease(id, state, 's')
  state.result = result
  finish(now, id, state, 's')
  texts[key] = format_state(state)
  completed = completed + 1
  return 'ok'
end

for i, item in ipairs(items) do
  local id, token, result, key = item[1], item[2], item[3], keys[i]
  local tail, read = first_attempt(texts[key], token)
  if tail then
    texts[key] = complete_first(id, key, token, tail, read, result)
    completed = completed + 1
    statuses[i] = 'ok'
  else
    statuses[i] = complete_any(id, key, token, result)
  end
end
count(now, 'succeeded', completed)
commit()
return cmsgpack.pack(statuses)
