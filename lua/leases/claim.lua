#!lua flags=allow-oom
--[=[ claim: queued -> running, with a lease; promotes due jobs first; a job that was not started in time -> cancelled.
This file has two scripts. `claim` takes jobs of every type. `claim_typed` also has the lines from `--@typed` to `--@end`;
only `claim` has the plain way, and the lines from `--@untyped` to `--@end`.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, claim_id, worker, lease_ms, limit, [queue, ...], max_starve_ms, suspects, defer_ms,
         max_bytes, reporting, isolates]; claim_typed: and room, others, take, woken
         claim_id: random; the tokens are '<claims>.<claim_id>'
         queues: in the order of their turn; lanes come first, then queues within a lane
         suspects: how many jobs with crashes this process may take now, 0 or 1; others that the claim meets are delayed
         by defer_ms and a little more each. It has no effect once jobs may be set aside on the shard
         isolates: how many suspects, jobs with two crashes or more, it can run now, each in a child process of its own;
         nothing: it has none, and runs a suspect while it holds no other job of the shard; -1: it holds jobs of others
         max_bytes: stop after the definition or checkpoint that exceeds it, those of tombstones included
         reporting: true = the reply has the ids of promoted and expired jobs too
         room: [[n, [type, ...]], ...]: at most n jobs of these types together; others are set aside. Empty: no such limit
         others: beside room: whether types that no entry of room names are claimed too
         take: {queue: [[lane, type], ...]}: the lists set aside to claim from, as the last reply named them
         woken: [type, ...]: the types whose markers the caller took. They are put back where a list has jobs left
Reply    msgpack [[[id, token, attempt, crashes, definition, checkpoint | nothing], ...], due_in_ms | -1, more, repeated, promoted, expired,
         first_ids, first_definitions, rests, asides | nothing]
         attempt counts from 1; due_in_ms: until the next scheduled job of these queues; more: stopped at a limit
         (jobs, bytes, 1,000 skips, those of expired jobs included) with jobs or tombstones left
         repeated: this claim_id has claimed jobs within the last lease. Those that still have its tokens are the reply,
         with due_in_ms 0 and more, and nothing else is claimed: safe to resend
         promoted, expired: [id, ...] of the jobs that came due, and of those that were cancelled since no worker had
         started them in time; only when reporting, and not in a repeated reply
         first_ids, first_definitions: instead of the jobs, if all are claimed for the first time and without crashes:
         their token is '1.<claim_id>', their attempt 1
         rests: true = the worker gets nothing else for now, since it runs a suspect alone or has to hold nothing first
         asides: [[queue, names], ...]: the lists set aside of those queues that have any. If `claim` finds some in queues
         that are not paused, or if the worker runs a suspect alone, it replies with them and does nothing: the same
         claim has to be sent to claim_typed
Errors   only those of the store ]=]
--@include now
--@include keys: base LANES job_key state_key ready_key scheduled_key leases_key claim_key alone_key queue_key wake_key aside_key
--@include keys: stats_key stats_minute_key
--@include fast_path: FIRST first_start starts fields_after_r kept_of kept_fields number_texts number_text first_state
local CHUNK = 16

local args = cmsgpack.unpack(ARGV[1])
local now, claim_id, worker, lease_ms, limit = now_ms(args[1]), args[2], args[3], args[4], args[5]
local queues, max_starve, suspects, defer_ms, max_bytes = args[6], args[7], args[8], args[9], args[10]

-- before: the ids that this claim_id has claimed. alone: the suspect that the worker runs alone, if any.
-- The settings of each queue, and the lengths of the lanes if it is not paused. Nothing of it is read for a repeat.
local before, alone = unpack(redis.call('MGET', claim_key(claim_id), alone_key(worker)))
local open, settings, lengths, tombstones, asides = {}, {}, {}, {}, nil
for _, queue in ipairs(before and {} or queues) do
  local fields = redis.call('HMGET', queue_key(queue), 'paused', 'guard_default', 'guard_low', 'tombstones_high',
    'tombstones_default', 'tombstones_low', 'aside')
  settings[queue] = fields
  if not fields[1] then
    open[#open + 1] = queue
    if fields[7] or alone then asides = asides or {}; asides[#asides + 1] = {queue, fields[7] or ''} end
    for i, lane in ipairs(LANES) do
      local list = ready_key(queue, lane)
      lengths[list], tombstones[list] = redis.call('LLEN', list), fields[i + 3] and tonumber(fields[i + 3]) or 0
    end
  end
end

--@untyped
-- A job of the lane may have to stand behind those of its type that were set aside.
if asides then return cmsgpack.pack({{}, 0, true, false, {}, {}, {}, {}, false, asides}) end
--@end
--@typed
--@include keys: wake_type_key
--@include idle
--@include asides: type_of
do
--@include counters
--@include promote: first_due
--@include typed_plain
end
--@end

--@plain
--@include counters
local MOST, lease_expires = 1000, nil

-- only_lane(): the lane that has all jobs of the open queues; nil if several have some, or if one has tombstones. No
-- job is in two places, so nothing is to be weighed between lanes.
local function only_lane()
  local found = nil
  for _, lane in ipairs(LANES) do
    for _, queue in ipairs(open) do
      local list = ready_key(queue, lane)
      if tombstones[list] > 0 then return nil end
      if lengths[list] > 0 then
        if found and found ~= lane then return nil end
        found = lane
      end
    end
  end
  return found or 'default'
end

--@include promote: first_due

-- read_first_claims(lane): reads jobs from the head of this lane of each queue in turn, up to the limits, and returns the
-- plan: lists for the reply and the writes, and how many entries it takes of each queue. Returns nil if a job is not
-- there, is there twice, may expire, or is unique.
local function read_first_claims(lane)
  local plan = {ids = {}, definitions = {}, states = {}, leases = {}, taken = {}, stopped = false}
  local ids, definitions, states, seen, texts, total, bytes = plan.ids, plan.definitions, plan.states, {}, {}, 0, 0
  local job_prefix, state_prefix, start = job_key(''), state_key(''), first_start(claim_id, now, worker)
  for _, queue in ipairs(open) do
    if plan.taken[queue] then return nil end
    local list, job_keys, leases, count = ready_key(queue, lane), {}, {}, 0
    local want = plan.stopped and 0 or math.min(lengths[list], limit - total)
    local entries = want > 0 and redis.call('LRANGE', list, 0, want - 1) or {}
    lease_expires = lease_expires or #entries > 0 and string.format('%d', now + lease_ms)
    for i = 1, #entries do job_keys[i] = job_prefix .. entries[i] end
    for first = 1, #entries, CHUNK do
      local last = math.min(first + CHUNK - 1, #entries)
      if plan.stopped then break end
      local found = redis.call('MGET', unpack(job_keys, first, last))
      for i = first, last do
        if bytes >= max_bytes then plan.stopped = true; break end
        local id, definition = entries[i], found[i - first + 1]
        if not definition or seen[id] then return nil end
        local size, fields = #definition, fields_after_r(definition)
        local of_fields = texts[fields]
        if not of_fields then
          if string.find(fields, ' [xU]=') then return nil end
          of_fields = {}
          texts[fields] = of_fields
        end
        local text = of_fields[size]
        if not text then
          text = first_state(start, definition)
          of_fields[size] = text
        end
        total, count, seen[id], bytes = total + 1, i, true, bytes + size
        ids[total], definitions[total] = id, definition
        local pair = 2 * total
        states[pair - 1], states[pair] = state_prefix .. id, text
        pair = 2 * i
        leases[pair - 1], leases[pair] = lease_expires, id
      end
    end
    plan.taken[queue], plan.leases[queue] = count, leases
  end
  return plan
end

-- queues_with_more(lane, plan): the queues with jobs left, if the plan stops at a limit. They get their markers back.
local function queues_with_more(lane, plan)
  local found = {}
  for _, queue in ipairs((plan.stopped or #plan.ids >= limit) and open or {}) do
    if lengths[ready_key(queue, lane)] > plan.taken[queue] then found[#found + 1] = queue end
  end
  return found
end

-- claim_plain(): claims jobs for the first time, from queues with jobs in one lane only, without tombstones. Returns the
-- reply, or false if something else has to be looked at; then it has written nothing.
local function claim_plain()
  local lane = not before and limit > 0 and limit <= MOST and only_lane()
  if not lane then return false end
  local next_due = first_due()
  local plan = not (next_due and next_due <= now) and read_first_claims(lane)
  if not plan then return false end
  local ids, writes, more = plan.ids, plan.states, queues_with_more(lane, plan)
  local reply = {{}, next_due and next_due - now or -1, #more > 0, false, {}, {}, ids, plan.definitions}
  if #ids == 0 then return reply end
  -- The last check and the first write: none of the jobs has a state.
  if redis.call('MSETNX', unpack(writes)) == 0 then return false end
  for queue, entries in pairs(plan.taken) do
    if entries > 0 then
      redis.call('ZADD', leases_key(queue), unpack(plan.leases[queue]))
      redis.call('LPOP', ready_key(queue, lane), entries)
    end
  end
  for _, queue in ipairs(more) do redis.call('ZADD', wake_key(queue), 0, 'm') end
  add_count(now, 'claimed', #ids)
  redis.call('SET', claim_key(claim_id), table.concat(ids, ' '), 'PX', math.max(1, lease_ms))
  return reply
end
local plain = claim_plain()
if plain then return cmsgpack.pack(plain) end

--@general
--@include keys: dedupe_key done_key meta_key finished_channel
--@include writes: writes writes_list put zadd rpush hincr del wake publish_end count in_chunks commit
--@include state: ERRORS_KEPT parse_fields parse_state format_state add_error load_states number_of queue_of lane_of
--@include state: retention_of token_of job_fields adopt SUSPECT
--@include transitions: save free_dedupe publish_if_watched finish make_cancelled
--@include waiting
--@include features: features_in_use has_word is_open
--@include promote: promote_due
--@include keys: wake_type_key asides_channel asides_message
--@include asides: LETTER_OF type_of
--@include naming
local MAX_SKIPS, lease_expires = 1000, string.format('%d', now + lease_ms)
local jobs, bytes, promoted_ids = {}, 0, args[11] and {} or nil
local token_of_first, start_of_first = '1.' .. claim_id, first_start(claim_id, now, worker)

local function add_job(id, state, definition)
  local checkpoint = state.K and state.result or nil
  jobs[#jobs + 1] = {id, token_of(state), number_of(state, 'a') + 1, number_of(state, 'x'), definition, checkpoint}
  bytes = bytes + #(checkpoint or '')
end
-- A repeat: reply with the jobs of the first time that still have its tokens.
if before then
  local ids = {}
  for id in string.gmatch(before, '%S+') do ids[#ids + 1] = id end
  local states = load_states(ids)
  for _, id in ipairs(ids) do
    local state = states[id]
    local definition = state and state.s == 'r' and state.h == claim_id and redis.call('GET', job_key(id))
    if definition then add_job(id, state, definition) end
  end
  return cmsgpack.pack({jobs, 0, true, true})
end

local next_due, overdue = nil, {}
for _, queue in ipairs(open) do
  local promoted, due = promote_due(now, queue, math.max(limit, 100), promoted_ids)
  if due then next_due = math.min(next_due or math.huge, due) end
  overdue[queue] = due and due <= now
  if promoted > 0 then
    for _, lane in ipairs(LANES) do
      local list = ready_key(queue, lane)
      lengths[list] = redis.call('LLEN', list)
    end
  end
end
-- rested(queue, lane): whether the guard has let no job of this lane go first within the last second.
local function rested(queue, lane)
  return math.abs(now - tonumber(settings[queue][lane == 'default' and 2 or 3] or 0)) >= 1000
end

local consumed, moved, skipped, deferred, stopped = {}, {}, 0, 0, false
local expired, expired_ids = 0, promoted_ids and {}
--@include suspects
--@typed
--@include keys: queues_key
--@include typed
--@include alone
--@end

-- claim_job(...): a unique job that holds its key until it has started frees it now. A retry does not take it again.
local function claim_job(queue, id, state, definition)
  if state then
    state.s, state.n, state.h, state.w, state.b = 'r', number_of(state, 'n') + 1, claim_id, worker, now
    put(state_key(id), format_state(state))
    add_job(id, state, definition)
  else
    put(state_key(id), first_state(start_of_first, definition))
    jobs[#jobs + 1] = {id, token_of_first, 1, 0, definition}
  end
  if string.find(fields_after_r(definition), ' U=s', 1, true) then free_dedupe(now, id, parse_fields(definition)) end
  zadd(leases_key(queue), lease_expires, id)
end

-- examine(queue, lane, id, definition, text, ready_before, may_be_tombstone): handles the entry at the head of a lane,
-- and returns 'claimed', 'deferred', 'expired', 'skipped' (a tombstone), or 'young' (left there: it became ready later
-- than ready_before). claim_typed also returns 'moved' (to another list) and 'no_room' (left there).
local function examine(queue, lane, id, definition, text, ready_before, may_be_tombstone)
  local state = text and parse_state(text)
  if not definition or moved[id] or (state and state.s ~= 'w') then return 'skipped' end
  if may_be_tombstone and not belongs(queue, lane, id, state or parse_fields(definition)) then
    return 'skipped'
  end
  if has_expired(now, state, definition) then
    moved[id] = true
    expire(now, id, state or new_state(definition, #definition))
    expired = expired + 1
    if expired_ids then expired_ids[expired] = id end
    return 'expired'
  end
  if ready_before then
    local ready_at = tonumber(state and state.r or string.match(definition, '^r=(%d+)') or now)
    if ready_at > ready_before then return 'young' end
  end
--@typed
  local entry, refusal = may_begin(id, definition)
  if not entry then return refusal end
--@end
  moved[id] = true
  if state and number_of(state, 'x') > 0 and is_refused(queue, lane, id, state) then return 'deferred' end
--@typed
  entry[1] = entry[1] - 1
--@end
  claim_job(queue, id, state, definition)
  return 'claimed'
end

-- take(queue, lane, most, ready_before): claims up to `most` jobs from the head of a lane. Returns how many, and whether the
-- head has to stay.
local function take(queue, lane, most, ready_before)
  local list = ready_key(queue, lane)
--@typed
  if source then list = source.list end
--@end
  local taken, passed_before, may_be_tombstone = 0, skipped + expired, tombstones[list] > 0
  while taken < most and not stopped do
    local offset = consumed[list] or 0
    local want = math.min(CHUNK, math.max(most - taken, skipped + expired - passed_before))
    if offset >= lengths[list] then break end
    local ids = redis.call('LRANGE', list, offset, offset + want - 1)
    if #ids == 0 then break end
    local job_keys, state_keys = {}, {}
    for i, id in ipairs(ids) do job_keys[i], state_keys[i] = job_key(id), state_key(id) end
    local definitions, states = redis.call('MGET', unpack(job_keys)), redis.call('MGET', unpack(state_keys))
    for i, id in ipairs(ids) do
      if taken >= most then break end
      if bytes >= max_bytes or skipped + deferred + expired >= MAX_SKIPS then stopped = true; break end
--@typed
      if refused >= MAX_REFUSED then stopped = true; break end
--@end
      bytes = bytes + #(definitions[i] or '')
      local outcome = examine(queue, lane, id, definitions[i], states[i], ready_before, may_be_tombstone)
      if outcome == 'young' or outcome == 'no_room' then return taken, true end
      consumed[list] = (consumed[list] or 0) + 1
      if outcome == 'claimed' then
        taken = taken + 1
      elseif outcome == 'skipped' then
        skipped = skipped + 1
        hincr(queue_key(queue), 'tombstones_' .. lane, -1)
      end
    end
  end
  return taken
end
--@typed
local is_alone = claim_alone(take)
if is_alone then limit = #jobs end
take = from_lists(take)
--@end

-- The guard against starvation: if the head of a lower lane has been ready for too long, while any queue has jobs in a
-- higher lane, one job a second of the lower lane is claimed first.
local guards, above = {}, 0
for _, lane in ipairs(LANES) do
  local in_lane = 0
  for _, queue in ipairs(open) do
    local length = lengths[ready_key(queue, lane)]
--@typed
    length = length + lists_taken(queue, lane)
--@end
    in_lane = in_lane + length
    if above > 0 and length > 0 and #jobs < limit and rested(queue, lane)
        and take(queue, lane, 1, now - max_starve) > 0 then
      guards[#guards + 1] = {queue, lane}
    end
  end
  above = above + in_lane
end

for _, lane in ipairs(LANES) do
  for _, queue in ipairs(open) do
    if #jobs < limit then take(queue, lane, limit - #jobs) end
  end
end

-- Every queue with jobs left gets its marker back: a replica that serves other queues may wait for this one.
local more = false
if stopped or #jobs >= limit then
  for _, queue in ipairs(open) do
    local left = overdue[queue]
    for _, lane in ipairs(LANES) do
      local list = ready_key(queue, lane)
      left = left or lengths[list] > (consumed[list] or 0)
    end
    if left then
      more = true
      wake(queue)
    end
  end
--@typed
  more = not is_alone and (more or lists_have_more())
--@end
end

count(now, 'claimed', #jobs)
count(now, 'expired', expired)
--@typed
count(now, 'set_aside', set_aside)
--@end
for list, entries in pairs(consumed) do redis.call('LPOP', list, entries) end
commit()
for _, guard in ipairs(guards) do redis.call('HSET', queue_key(guard[1]), 'guard_' .. guard[2], now) end
if #jobs > 0 then
  local ids = {}
  for i, job in ipairs(jobs) do ids[i] = job[1] end
  redis.call('SET', claim_key(claim_id), table.concat(ids, ' '), 'PX', math.max(1, lease_ms))
end
local due_in = next_due and math.max(0, next_due - now) or -1
local reply = {jobs, due_in, more, false, promoted_ids, expired_ids}
write_names()
--@typed
write_alone()
put_back_markers()
reply = {jobs, due_in, more, false, promoted_ids or {}, expired_ids or {}, {}, {}, is_alone, names_to_tell()}
--@end
return cmsgpack.pack(reply)
