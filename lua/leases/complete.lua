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
    texts[key] = complete_first(now, now_text, id, key, token, tail, read, result)
    completed = completed + 1
    statuses[i] = 'ok'
  else
    statuses[i] = complete_any(id, key, token, result)
  end
end
count(now, 'succeeded', completed)
commit()
return cmsgpack.pack(statuses)
