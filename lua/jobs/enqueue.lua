#!lua
--[=[ enqueue: nothing -> queued, or scheduled when it is due later; running, for an idle claimer that offers itself.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, full, [item, ...], copied, offer]
         item: a job, [id, queue, lane, head, body, delay_ms, run_at_ms, dedupe, dedupe_ttl_ms]; or a group of jobs that
         have the rest in common, are due now and have no dedupe key, [queue, lane, head, [id, ...], [body, ...]]
         full: true = accept no new job, but answer for jobs that exist already
         head: the header's fields but the times, e.g. 'q=mail m=3'; body: the definition's JSON
         delay_ms counts from the store's clock; run_at_ms is a time, 0 = none
         dedupe: the key as base64url, '' = none; its TTL is at least 1 ms
         copied: true = write in any case. WAIT waits for the last write of its own connection: if the job exists
         already, and another connection wrote it, there would be nothing to wait for
         offer: may be missing; [claim_id, worker, lease_ms, limit, [queue, ...], max_bytes], as claim takes them. If a
         claim right behind this call would find only these jobs, then they are claimed here, up to the limit, and leave
         what claim leaves. No marker is put for them. It gets none while one of its queues has a list set aside, or
         while its worker runs a suspect alone, since claim takes none then
Reply    msgpack 'new' if each job is; or [answer, ...], one per job in their order: 'new' | 'duplicate <holder id>' |
         'full' | 'too_many_queues'; or [taken, now_ms, due_in_ms | -1] if each job is new, and the first `taken` of them
         are claimed; due_in_ms as in claim
         a job that exists already is answered 'new': safe to resend. Only 'new' changes anything, except that each
         'duplicate' is counted, and except for `copied`
Errors   OOM, when the store is over its maxmemory; then nothing was written ]=]
--@include now
--@include keys: base job_key ready_key wake_key queues_key stats_key stats_minute_key leases_key claim_key alone_key
local args = cmsgpack.unpack(ARGV[1])
local now, full, items, copied, offer = now_ms(args[1]), args[2], args[3], args[4], args[5]

--@plain
--@include counters
-- A job has two arguments of MSETNX, and two more if the offer takes it. A call in Lua has fewer than 8,000 arguments.
local MOST = 1000

-- What an offer needs is made only if there is one, since a script makes its functions at each call.
local plan_claim
if offer then
--@include keys: LANES state_key scheduled_key queue_key
--@include fast_path: FIRST first_start starts fields_after_r kept_of kept_fields number_texts number_text first_state

-- finds_nothing_else(queue, lane): whether a claim by the offer would find no job but new ones of this lane. Returns also
-- when the next job of its queues is due, nil if none is scheduled.
local function finds_nothing_else(queue, lane)
  local takes_queue, used, scheduled, next_due = false, {claim_key(offer[1]), alone_key(offer[2])}, {}, nil
  for _, name in ipairs(offer[5]) do
    local fields = redis.call('HMGET', queue_key(name), 'paused', 'tombstones_' .. lane, 'aside')
    if not fields[1] then
      if fields[3] then return false end
      if name == queue then
        takes_queue = true
        if tonumber(fields[2] or 0) > 0 then return false end
      end
      for _, each in ipairs(LANES) do
        used[#used + 1], scheduled[#scheduled + 1] = ready_key(name, each), scheduled_key(name, each)
      end
    end
  end
  if not takes_queue or redis.call('EXISTS', unpack(used)) > 0 then return false end
  if redis.call('EXISTS', unpack(scheduled)) == 0 then return true end
  for _, key in ipairs(scheduled) do
    local due = tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
    if due and due <= now then return false end
    next_due = math.min(next_due or math.huge, due or math.huge)
  end
  return true, next_due
end

-- plan_claim(planned, size): adds the states of the jobs that the offer gets to the definitions of all in `planned`.
-- Returns the ids of these jobs, and when the next one is due.
function plan_claim(planned, size)
  local ids, bytes, queue, lane = {}, 0, items[1][1], items[1][2]
  for i = 2, #items do
    if items[i][1] ~= queue or items[i][2] ~= lane then return ids end
  end
  local alone, next_due = finds_nothing_else(queue, lane)
  if not alone then return ids end
  local start, limit, max_bytes = first_start(offer[1], now, offer[2]), offer[4], offer[6]
  for _, item in ipairs(items) do
    for _, id in ipairs(item[4]) do
      local count = #ids
      if count >= limit or bytes >= max_bytes then return ids, next_due end
      local definition = planned[2 * count + 2]
      ids[count + 1], bytes = id, bytes + #definition
      planned[size + 2 * count + 1], planned[size + 2 * count + 2] = state_key(id), first_state(start, definition)
    end
  end
  return ids, next_due
end
end

-- enqueue_plain(): enqueues groups of jobs that are all new, of queues that are known. Returns the reply; false if
-- something else has to be looked at, and then it has written nothing.
local function enqueue_plain()
  local prefix, ready_now, writes, size, seen, known = job_key(''), 'r=' .. now, {}, 0, {}, {}
  for i = 1, #items do
    local queue, lane, head, ids, bodies, is_single = unpack(items[i])
    if is_single then return false end
    if not known[queue] then
      if redis.call('SISMEMBER', queues_key, queue) == 0 then return false end
      known[queue] = true
    end
    local start = head ~= '' and ready_now .. ' ' .. head .. '\n' or ready_now .. '\n'
    for j = 1, #ids do
      local id = ids[j]
      if seen[id] then return false end
      seen[id] = true
      writes[size + 1], writes[size + 2] = prefix .. id, start .. bodies[j]
      size = size + 2
    end
  end
  if size == 0 or size > 2 * MOST then return false end
  local claimed, next_due = {}, nil
  if offer then claimed, next_due = plan_claim(writes, size) end
  -- The last check and the first write: none of the jobs exists.
  if redis.call('MSETNX', unpack(writes)) == 0 then return false end
  local taken, passed = #claimed, 0
  for i = 1, #items do
    local group = items[i]
    local ids = group[4]
    local first = math.max(0, taken - passed) + 1
    if first <= #ids then redis.call('RPUSH', ready_key(group[1], group[2]), unpack(ids, first)) end
    passed = passed + #ids
  end
  add_count(now, 'enqueued', passed)
  if taken > 0 then
    local leases, expires = {}, string.format('%d', now + offer[3])
    for i, id in ipairs(claimed) do leases[2 * i - 1], leases[2 * i] = expires, id end
    redis.call('ZADD', leases_key(items[1][1]), unpack(leases))
    redis.call('SET', claim_key(offer[1]), table.concat(claimed, ' '), 'PX', math.max(1, offer[3]))
    add_count(now, 'claimed', taken)
  end
  if taken < passed then
    for queue in pairs(known) do redis.call('ZADD', wake_key(queue), 0, 'm') end
  end
  if taken == 0 then return 'new' end
  return {taken, now, next_due and next_due - now or -1}
end
local reply = not full and enqueue_plain()
if reply then return cmsgpack.pack(reply) end

--@general
--@include keys: MAX_QUEUES scheduled_key dedupe_key copied_key finished_channel
--@include writes: writes writes_list put zadd rpush hincr wake count in_chunks commit
local jobs = {}
for _, item in ipairs(items) do
  local queue, lane, head, ids, bodies, is_single = unpack(item)
  if is_single then
    jobs[#jobs + 1] = item
  else
    for i, id in ipairs(ids) do jobs[#jobs + 1] = {id, queue, lane, head, bodies[i], 0, 0, '', 1} end
  end
end

-- Read: which jobs, dedupe keys and queues are there already.
local job_keys, dedupe_keys, dedupe_index, names, name_index = {}, {}, {}, {}, {}
for i, job in ipairs(jobs) do
  job_keys[i] = job_key(job[1])
  if job[8] ~= '' and not dedupe_index[job[8]] then
    dedupe_keys[#dedupe_keys + 1] = dedupe_key(job[8])
    dedupe_index[job[8]] = #dedupe_keys
  end
  if not name_index[job[2]] then
    names[#names + 1] = job[2]
    name_index[job[2]] = #names
  end
end
local found = redis.call('MGET', unpack(job_keys))
local holders = #dedupe_keys > 0 and redis.call('MGET', unpack(dedupe_keys)) or {}
local known = redis.call('SMISMEMBER', queues_key, unpack(names))
local queue_count

-- has_room_for(queue): whether the queue is known, or one more may be made.
local new_queues = {}
local function has_room_for(queue)
  if known[name_index[queue]] == 1 then return true end
  queue_count = queue_count or redis.call('SCARD', queues_key)
  if queue_count >= MAX_QUEUES then return false end
  queue_count = queue_count + 1
  known[name_index[queue]] = 1
  new_queues[#new_queues + 1] = queue
  return true
end

local answers, holds_key, made, created, duplicates = {}, {}, {}, 0, 0
local ready_now = 'r=' .. now
for i, job in ipairs(jobs) do
  local id, queue, lane, dedupe = job[1], job[2], job[3], job[8]
  local holder = dedupe ~= '' and (holds_key[dedupe] or holders[dedupe_index[dedupe]])
  if found[i] or made[id] then
    answers[i] = 'new'
  elseif holder and holder ~= id then
    answers[i] = 'duplicate ' .. holder
    duplicates = duplicates + 1
  elseif full then
    answers[i] = 'full'
  elseif not has_room_for(queue) then
    answers[i] = 'too_many_queues'
  else
    local due = job[7] > 0 and job[7] or now + job[6]
    local times = due > now and 'r=' .. due .. ' c=' .. now or ready_now
    local head = job[4] ~= '' and times .. ' ' .. job[4] or times
    put(job_keys[i], head .. '\n' .. job[5])
    if due > now then
      zadd(scheduled_key(queue, lane), due, id)
    else
      rpush(ready_key(queue, lane), id)
    end
    if dedupe ~= '' then holds_key[dedupe] = id end
    made[id] = job
    wake(queue)
    created = created + 1
    answers[i] = 'new'
  end
end

count(now, 'enqueued', created)
count(now, 'deduplicated', duplicates)
commit()
for dedupe, id in pairs(holds_key) do
  redis.call('SET', dedupe_key(dedupe), id, 'PX', math.max(1, made[id][9]))
end
if #new_queues > 0 then redis.call('SADD', queues_key, unpack(new_queues)) end
if copied and created == 0 then redis.call('SET', copied_key, now) end
return cmsgpack.pack(answers)
