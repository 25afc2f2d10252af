#!lua flags=allow-oom
--[=[ complete: running -> succeeded, by the lease holder, even if the job is flagged for cancel. The result replaces the
checkpoint. Frees the key of a job that is unique until it has finished.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, [[token, [id, ...], [result, ...] | none], ...]]
         the jobs of each token; result: JSON on one line, '' = none. Without the list no job has a result
Reply    msgpack 'ok' if each job is; or [status, ...], one per job in their order: 'ok' | 'lost'
         the same token again is answered 'ok': safe to resend
Errors   only those of the store ]=]
--@include now
--@include keys: base state_key leases_key done_key queue_key stats_key stats_minute_key
--@include state: parse_fields queue_of retention_of
--@include fast_path: FIRST first_head read_tail completed_state
local args = cmsgpack.unpack(ARGV[1])
local now, groups = now_ms(args[1]), args[2]
local ids, keys, total, state_prefix = #groups == 1 and groups[1][2] or {}, {}, 0, state_key('')
for i = 1, #groups do
  for _, id in ipairs(groups[i][2]) do
    total = total + 1
    ids[total], keys[total] = id, state_prefix .. id
  end
end
local found = total > 0 and redis.call('MGET', unpack(keys)) or {}
local now_text = string.format('%d', now)

--@plain
--@include counters
local MOST = 2000

-- complete_plain(): completes jobs that are all at their first attempt, each under its token. Returns false if something
-- else has to be looked at; then it has written nothing.
local function complete_plain()
  if total == 0 or total > MOST then return false end
  local writes, queues, seen, at = {}, {}, {}, 0
  local moved, moved_ids, done, count, bytes = {}, nil, nil, 0, 0
  for i = 1, #groups do
    local token, results, read_states = groups[i][1], groups[i][3], {}
    local head = first_head(token)
    if not head then return false end
    for j = 1, #groups[i][2] do
      at = at + 1
      local id, text = ids[at], found[at]
      if not text or seen[id] then return false end
      seen[id] = true
      local read = read_states[text]
      if not read then
        local tail = string.sub(text, #head + 1)
        read = string.sub(text, 1, #head) == head and read_tail(tail)
        if not read then return false end
        read.completed = completed_state(token, now_text, tail)
        read.score = string.format('%d', now + read.retention)
        queues[read.queue] = queues[read.queue] or {ids = {}, done = {}, count = 0, bytes = 0}
        read.moved = queues[read.queue]
        read_states[text] = read
      end
      if read.moved ~= moved then
        moved.count, moved.bytes = count, bytes
        moved = read.moved
        moved_ids, done, count, bytes = moved.ids, moved.done, moved.count, moved.bytes
      end
      local completed = read.completed
      if results and results[j] ~= '' then completed = completed .. '\n' .. results[j] end
      local last = 2 * at
      writes[last - 1], writes[last] = keys[at], completed
      count, bytes = count + 1, bytes + read.bytes + #completed
      moved_ids[count], last = id, 2 * count
      done[last - 1], done[last] = read.score, id
    end
  end
  moved.bytes = bytes
  redis.call('MSET', unpack(writes))
  for queue, one in pairs(queues) do
    redis.call('ZREM', leases_key(queue), unpack(one.ids))
    redis.call('ZADD', done_key(queue), unpack(one.done))
    redis.call('HINCRBY', queue_key(queue), 'done_bytes', one.bytes)
  end
  add_count(now, 'succeeded', total)
  return true
end
if complete_plain() then return cmsgpack.pack('ok') end

--@general
--@include keys: job_key ready_key scheduled_key dedupe_key alone_key wake_key finished_channel
--@include writes: writes writes_list put zrem zadd rpush hincr del wake publish_end count in_chunks commit
--@include state: parse_state format_state number_of lane_of token_of holds answered job_fields
--@include transitions: end_lease save free_dedupe publish_if_watched finish
--@include fast_path: last_token last_head tails first_attempt
-- An id that is in the call twice has the second time the state that the first left.
local texts = {}
for i, text in ipairs(found) do texts[keys[i]] = text end

local statuses, completed = {}, 0

-- complete_first(id, key, token, tail, read, result): does what end_lease and finish do, with a state
-- that stays text, and returns that text. `tail` and `read` come from first_attempt.
local function complete_first(id, key, token, tail, read, result)
  local done = completed_state(token, now_text, tail)
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
  state.result, state.K = result, nil
  finish(now, id, state, 's')
  if state.U == 'f' then free_dedupe(now, id, job_fields(id)) end
  texts[key] = format_state(state)
  completed = completed + 1
  return 'ok'
end

for _, group in ipairs(groups) do
  local token, results = group[1], group[3]
  for j, id in ipairs(group[2]) do
    local key, result = state_key(id), results and results[j] or ''
    local tail, read = first_attempt(texts[key], token)
    if tail then
      texts[key] = complete_first(id, key, token, tail, read, result)
      completed = completed + 1
      statuses[#statuses + 1] = 'ok'
    else
      statuses[#statuses + 1] = complete_any(id, key, token, result)
    end
  end
end
count(now, 'succeeded', completed)
commit()
return cmsgpack.pack(statuses)
