-- Suspects of a worker without child processes, as a pull worker: it runs one alone, while it holds nothing else, for 5 s and
-- twice as long with each further crash, and then until the lease is extended: a worker that died and started again under
-- its name has to wait for the end of its suspect. alone:<worker> has '<id> <queue> <until ms> <lease ms>' meanwhile. If the
-- lease expires and the worker has got nothing else since, the suspect is proven. Needs typed and suspects.
-- A block of its own, since a script has at most 200 local variables at a time.
local claim_alone, write_alone
do
local FIRST_ALONE, DRAIN_AFTER, DRAIN_FOR, BESIDE_AFTER, MAX_LOOKED = 5000, 60000, 60000, 600000, 1000
-- A longer lease is not waited for.
local LONG_LEASE = 60000
local alone_until, drained, held = nil, {}, nil

-- looked_at(keys): what the jobs of these states, up to CHUNK, say of what the worker holds, as held_by_worker.
local function looked_at(keys)
  local found = 'nothing'
  for _, text in ipairs(redis.call('MGET', unpack(keys))) do
    local fields = parse_fields(text or '')
    if fields.w == worker and fields.s == 'r' then
      found = 'others'
      if number_of(fields, 'x') >= SUSPECT then return 'suspect' end
    end
  end
  return found
end

-- held_by_worker(): 'nothing', 'others', or 'suspect' if a suspect is among them. It reads the leases of the shard once a
-- call. With more than MAX_LOOKED it does not look: 'others'.
local function held_by_worker()
  if held then return held end
  local looked, keys = 0, {}
  held = 'others'
  for _, queue in ipairs(redis.call('SMEMBERS', queues_key)) do
    local ids = redis.call('ZRANGE', leases_key(queue), 0, MAX_LOOKED - looked)
    looked = looked + #ids
    if looked > MAX_LOOKED then return held end
    for _, id in ipairs(ids) do keys[#keys + 1] = state_key(id) end
  end
  held = args[12] == -1 and 'others' or 'nothing'
  for first = 1, #keys, CHUNK do
    local found = looked_at({unpack(keys, first, math.min(first + CHUNK - 1, #keys))})
    if found ~= 'nothing' then held = found end
    if held == 'suspect' then break end
  end
  return held
end

-- still_alone(): whether the worker runs a suspect that still has to be alone. Otherwise the worker gets other jobs beside
-- it, so its end proves nothing from now on.
local function still_alone()
  if not alone then return false end
  local id, queue, until_text, lease = string.match(alone, '^(%S+) (%S+) (%d+) (%d+)$')
  local until_ms = tonumber(until_text)
  local known_alive = until_ms + tonumber(lease)
  local ends_ms = tonumber(redis.call('ZSCORE', leases_key(queue), id) or 0)
  if now >= until_ms and now < known_alive and ends_ms < known_alive then until_ms = math.min(ends_ms, now + defer_ms) end
  if now < until_ms then
    next_due = math.min(next_due or math.huge, until_ms)
    return true
  end
  del(alone_key(worker))
  local text = redis.call('GET', state_key(id))
  local state = text and parse_state(text)
  if state and state.s == 'r' and state.w == worker and state.A == 'a' then
    state.A = nil
    put(state_key(id), format_state(state))
  end
  return false
end

-- waited(list): for how many ms the first suspect of the list has been ready whose type the worker knows; nil if there is
-- none among the first.
local function waited(list)
  for _, id in ipairs(redis.call('LRANGE', list, 0, MAX_TURNED - 1)) do
    local state = parse_fields(redis.call('GETRANGE', state_key(id), 0, 1023))
    if state.s == 'w' and knows(type_of(redis.call('GETRANGE', job_key(id), 0, 2047))) then
      return now - number_of(state, 'r')
    end
  end
  return nil
end

-- drains(queue, waited_ms): whether the worker gets no job now, so that it comes to hold nothing: one worker at a time does
-- so, if a suspect has waited for long.
local function drains(queue, waited_ms)
  local who, until_ms = string.match(redis.call('HGET', queue_key(queue), 'draining') or '', '^(%S+) (%d+)$')
  if who and who ~= worker and now < tonumber(until_ms) then return false end
  if waited_ms < DRAIN_AFTER then return false end
  drained[queue] = worker .. ' ' .. string.format('%d', now + DRAIN_FOR)
  next_due = math.min(next_due or math.huge, now + defer_ms)
  return true
end

-- claim_suspect(take, queue, lane): claims one from the list of suspects, and returns whether it did.
local function claim_suspect(take, queue, lane)
  local list = aside_key(queue, lane, SUSPECTS)
  lengths[list], tombstones[list] = redis.call('LLEN', list), tombstones[ready_key(queue, lane)]
  enter(queue, lane)
  source = {type = SUSPECTS, entry = {1}, list = list}
  local got = take(queue, lane, 1)
  source = nil
  if got > 0 and runs_alone then
    local longer = math.max(0, jobs[#jobs][4] - SUSPECT)
    local lease = lease_ms <= LONG_LEASE and lease_ms or 0
    alone_until = string.format('%s %d %d', queue, now + FIRST_ALONE * 2 ^ longer, lease)
  end
  return got > 0
end

-- claim_from(take, queue, lane, waited_ms): returns whether a suspect was claimed, and whether the worker gets nothing else
-- now.
local function claim_from(take, queue, lane, waited_ms)
  local holds = held_by_worker()
  runs_alone = holds == 'nothing'
  runs_beside = holds == 'others' and waited_ms >= BESIDE_AFTER
  local got = (runs_alone or runs_beside) and claim_suspect(take, queue, lane)
  -- A worker that holds jobs of other shards would get more of them, and never hold nothing.
  local may_drain = not runs_alone and not got and args[12] ~= -1
  local is_over = got and runs_alone or (may_drain and drains(queue, waited_ms))
  runs_alone, runs_beside = false, false
  return got, is_over
end

-- claim_alone(take): what a worker without child processes does with suspects, before all else. Returns whether it gets
-- nothing else now.
function claim_alone(take)
  if still_alone() then return true end
  if has_children or limit < 1 then return false end
  for _, lane in ipairs(LANES) do
    for _, queue in ipairs(open) do
      local list = is_named(queue, lane, SUSPECTS) and aside_key(queue, lane, SUSPECTS)
      local waited_ms = list and waited(list)
      if list and not waited_ms and redis.call('LLEN', list) > MAX_TURNED then
        claim_suspect(take, queue, lane) -- which claims none of the first, but has them go to the tail
      elseif waited_ms then
        local got, is_over = claim_from(take, queue, lane, waited_ms)
        if got or is_over then return is_over end
      end
    end
  end
  return false
end

-- write_alone(): keeps what the worker runs alone, and which one takes nothing until it holds nothing.
function write_alone()
  if alone_until then redis.call('SET', alone_key(worker), jobs[1][1] .. ' ' .. alone_until) end
  for queue, text in pairs(drained) do redis.call('HSET', queue_key(queue), 'draining', text) end
end
end
