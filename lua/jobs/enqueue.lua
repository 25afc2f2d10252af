#!lua
--[=[ enqueue: nothing -> queued, or scheduled when it is due later; running, for an idle claimer that offers itself.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, full, [item, ...], copied, offer]
         item: a job, [id, queue, lane, head, body, delay_ms, run_at_ms, dedupe, dedupe_ttl_ms, unique | nothing]; or a
         group of jobs that have the rest in common, are due now and have no key, [queue, lane, head, [id, ...], [body, ...]]
         full: true = accept no new job, but answer for jobs that exist already
         head: the header's fields but the times, e.g. 'q=mail m=3'; body: the definition's JSON
         delay_ms counts from the store's clock; run_at_ms is a time, 0 = none
         dedupe: the key as base64url, '' = none; its TTL is at least 1 ms. 'u:' and base64url = the key of a unique job
         unique: [on_conflict, wait_ms, max_wait_ms]: what to do if another job holds the key: 'return', 'reject' or
         'replace'. With a wait a waiting holder is due again after it, at most max_wait_ms after it was created
         copied: true = write in any case. WAIT waits for the last write of its own connection: if the job exists
         already, and another connection wrote it, there would be nothing to wait for
         offer: may be missing; [claim_id, worker, lease_ms, limit, [queue, ...], max_bytes], as claim takes them. If a
         claim right behind this call would find only these jobs, then they are claimed here, up to the limit, and leave
         what claim leaves. No marker is put for them. It gets none while one of its queues has a list set aside, or
         while its worker runs a suspect alone, since claim takes none then
Reply    msgpack 'new' if each job is; or [answer, ...], one per job in their order: 'new' | 'duplicate <holder id>' |
         'full' | 'too_many_queues'; or [taken, now_ms, due_in_ms | -1] if each job is new, and the first `taken` of them
         are claimed; due_in_ms as in claim; and for unique jobs 'rejected <holder id>' | 'replaced <holder id>', the holder
         waits and has this body now | 'follows <holder id>', it runs, and its end enqueues this job, or one that is sent
         after it | 'differs <holder id>', it has another type, queue, lane or `until`, so it was not replaced | 'closed',
         older replicas run beside this one
         a job that exists already is answered 'new', and for 5 minutes one that has replaced another is answered as
         before: safe to resend. Only 'new', 'replaced' and 'follows' change anything, except that each request that finds
         a holder is counted as a duplicate, and except for `copied`
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
--@include writes: writes writes_list put zadd rpush hincr del wake count in_chunks commit
local jobs, has_unique = {}, false
for _, item in ipairs(items) do
  local queue, lane, head, ids, bodies, is_single = unpack(item)
  if is_single then
    jobs[#jobs + 1] = item
    has_unique = has_unique or item[10]
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

-- What unique jobs need is made only if there are some.
local answer_unique, note_new
local replaced, REPLACED_FOR = {}, 300000
if has_unique then
--@include keys: state_key meta_key
--@include features: features_in_use has_word is_open
--@include state: parse_fields parse_state format_state number_of
--@include asides: type_of
local records, may_write = {}, nil
local function again_key(id) return dedupe_key('a:' .. id) end
local function replaced_key(id) return dedupe_key('r:' .. id) end

-- record_of(id): the definition and the state of a job, as this call leaves them; no definition = it is gone.
local function record_of(id)
  if not records[id] then
    local found = redis.call('MGET', job_key(id), state_key(id))
    records[id] = {definition = found[1], state = found[2] and parse_state(found[2])}
  end
  return records[id]
end

-- postpone(job, record, fields, id): has the waiting holder be due again after a wait, if it is scheduled. Returns its new
-- header line, and when it is due, nil if nothing changes. One that was restored stands in `scheduled` below 0: it is ready.
local function postpone(job, record, fields, id)
  local head, set = string.match(record.definition, '^[^\n]*'), scheduled_key(job[2], job[3])
  local before = record.due or tonumber(redis.call('ZSCORE', set, id) or -1)
  if before < 0 then return head, nil end
  local created = tonumber(fields.c or fields.r)
  local due = math.min(now + job[10][2], created + job[10][3])
  zadd(set, due, id)
  if due < before then wake(job[2]) end
  record.due = due
  local times = string.format(fields.c and 'r=%d' or 'r=%d c=%d', due, created)
  return times .. string.sub(head, #('r=' .. fields.r) + 1), due
end

-- replace_waiting(job, record, fields, id): the holder gets the body, and keeps its id, its place and the rest of its header.
local function replace_waiting(job, record, fields, id)
  local head, due = string.match(record.definition, '^[^\n]*'), nil
  if job[10][2] > 0 then head, due = postpone(job, record, fields, id) end
  record.definition = head .. '\n' .. job[5]
  put(job_key(id), record.definition)
  local state = record.state
  if not state then return end
  if state.K then state.K, state.result = nil, '' end
  state.r, state.j = due or state.r, #record.definition + number_of(state, 'L')
  put(state_key(id), format_state(state))
  del(again_key(id))
end

-- replace(job, id): replaces the holder, or has the job follow it. Returns the answer; nil if no such job holds the key.
local function replace(job, id)
  local record = record_of(id)
  if not record.definition then return nil end
  local fields, status = parse_fields(record.definition), record.state and record.state.s or 'w'
  local fits = type_of(record.definition) == type_of('\n' .. job[5]) and fields.U == parse_fields(job[4]).U
  if not fits or (fields.q or 'default') ~= job[2] or (fields.l or 'default') ~= job[3] then return 'differs ' .. id end
  if status ~= 'w' and status ~= 'r' then return nil end
  if status == 'r' and fields.U ~= 'f' then return 'differs ' .. id end
  if full then return 'full' end
  if status == 'w' then
    replace_waiting(job, record, fields, id)
    return 'replaced ' .. id
  end
  put(again_key(id), string.format('%s %d %d\n%s\n%s', job[1], job[6], job[7], job[4], job[5]))
  return 'follows ' .. id
end

-- answer_unique(job, holder): the answer to a unique job that is not there; nil if it is to be enqueued.
function answer_unique(job, holder)
  if may_write == nil then may_write = is_open('unique') end
  if not may_write then return 'closed' end
  local id, on_conflict = job[1], job[10][1]
  local before = replaced[id] or redis.call('GET', replaced_key(id))
  if before then return before end
  if not holder or holder == id then return nil end
  if on_conflict ~= 'replace' then return (on_conflict == 'reject' and 'rejected ' or 'duplicate ') .. holder end
  local answer = replace(job, holder)
  if answer and answer ~= 'full' and answer ~= 'differs ' .. holder then replaced[id] = answer end
  return answer
end

-- note_new(id, definition, due): a later job of this call may replace this one. due: false = it is due now.
function note_new(id, definition, due) records[id] = {definition = definition, due = due or nil} end
end

local answers, holds_key, made, created, duplicates = {}, {}, {}, 0, 0
local ready_now = 'r=' .. now
for i, job in ipairs(jobs) do
  local id, queue, lane, dedupe = job[1], job[2], job[3], job[8]
  local holder = dedupe ~= '' and (holds_key[dedupe] or holders[dedupe_index[dedupe]])
  local unique = job[10] and not (found[i] or made[id]) and answer_unique(job, holder)
  if found[i] or made[id] then
    answers[i] = 'new'
  elseif unique then
    answers[i] = unique
    duplicates = duplicates + (string.find(unique, ' ', 1, true) and 1 or 0)
  elseif holder and holder ~= id and not job[10] then
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
    if job[10] then note_new(id, head .. '\n' .. job[5], due > now and due) end
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
-- The answers to those that have replaced others, for repeats.
for id, answer in pairs(replaced) do redis.call('SET', dedupe_key('r:' .. id), answer, 'PX', REPLACED_FOR) end
if #new_queues > 0 then redis.call('SADD', queues_key, unpack(new_queues)) end
if copied and created == 0 then redis.call('SET', copied_key, now) end
return cmsgpack.pack(answers)
