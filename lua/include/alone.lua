-- Suspects of a worker without child processes, as a pull worker: it runs one alone, while it holds nothing else, for 5 s and
-- twice as long with each further crash. The field only_<worker> of the queue has '<id> <until ms>' meanwhile. If its lease
-- expires in this time, the suspect is proven. Needs typed and suspects.
local FIRST_ALONE, DRAIN_AFTER, DRAIN_FOR, BESIDE_AFTER, MAX_LOOKED = 5000, 60000, 60000, 600000, 1000
local alone_in, alone_until, drained = nil, nil, {}

-- holds_nothing(): whether the worker has no lease. With more than MAX_LOOKED leases on the shard it does not look.
local function holds_nothing()
  local looked, mark = 0, ' w=' .. worker .. ' '
  for _, queue in ipairs(redis.call('SMEMBERS', queues_key)) do
    local ids = redis.call('ZRANGE', leases_key(queue), 0, MAX_LOOKED - looked)
    looked = looked + #ids
    if looked > MAX_LOOKED then return false end
    for first = 1, #ids, CHUNK do
      local keys = {}
      for i = first, math.min(first + CHUNK - 1, #ids) do keys[#keys + 1] = state_key(ids[i]) end
      for _, text in ipairs(redis.call('MGET', unpack(keys))) do
        local head = text and string.match(text, '^[^\n]*') .. ' ' or ''
        if string.find(head, mark, 1, true) then return false end
      end
    end
  end
  return true
end

-- still_alone(queue): whether the worker runs a suspect of this queue that still has to be alone. Otherwise the worker gets
-- other jobs beside it, so its end proves nothing from now on.
local function still_alone(queue)
  local id, until_ms = string.match(settings[queue][8] or '', '^(%S+) (%d+)$')
  if not id then return false end
  if now < tonumber(until_ms) then
    next_due = math.min(next_due or math.huge, tonumber(until_ms))
    return true
  end
  hdel(queue_key(queue), 'only_' .. worker)
  local text = redis.call('GET', state_key(id))
  local state = text and parse_state(text)
  if state and state.s == 'r' and state.w == worker and state.A == 'a' then
    state.A = nil
    put(state_key(id), format_state(state))
  end
  return false
end

-- waited(list): for how many ms the first suspect of a list has been ready; nil if there is none.
local function waited(list)
  local id = redis.call('LINDEX', list, 0)
  local text = id and redis.call('GETRANGE', state_key(id), 0, 1023)
  return id and now - tonumber(parse_fields(text or '').r or now)
end

-- drains(queue, waited_ms): whether the worker gets no job of this queue, so that it comes to hold nothing: one worker at a
-- time does so, if the first suspect has waited for long.
local function drains(queue, waited_ms)
  local who, until_ms = string.match(redis.call('HGET', queue_key(queue), 'draining') or '', '^(%S+) (%d+)$')
  local is_over = not who or now >= tonumber(until_ms)
  if is_over and waited_ms < DRAIN_AFTER then return false end
  if not is_over and who ~= worker then return false end
  if is_over then drained[queue] = worker .. ' ' .. string.format('%d', now + DRAIN_FOR) end
  next_due = math.min(next_due or math.huge, now + defer_ms)
  return true
end

-- claim_suspect(take, queue, lane): claims one from the list of suspects, and returns whether it did. If the worker runs it
-- alone, it gets no other job.
local function claim_suspect(take, queue, lane)
  local list = aside_key(queue, lane, SUSPECTS)
  lengths[list], tombstones[list] = redis.call('LLEN', list), tombstones[ready_key(queue, lane)]
  enter(queue, lane)
  source = {type = SUSPECTS, entry = {1}, list = list}
  local got = take(queue, lane, 1)
  source = nil
  if got == 0 then return false end
  if not runs_alone then return true end
  alone_in = queue
  local longer = math.max(0, jobs[#jobs][4] - SUSPECT)
  alone_until = string.format('%d', now + FIRST_ALONE * 2 ^ longer)
  return true
end

-- claim_alone(take): what a worker without child processes does with suspects, before all else. Returns whether it gets
-- nothing else now.
local function claim_alone(take)
  local stays = false
  for _, queue in ipairs(open) do stays = still_alone(queue) or stays end
  if stays or isolates > 0 or suspects == 0 or limit < 1 then return stays end
  for _, lane in ipairs(LANES) do
    for _, queue in ipairs(open) do
      local since = is_named(queue, lane, SUSPECTS) and waited(aside_key(queue, lane, SUSPECTS))
      if since then
        runs_alone = holds_nothing()
        if (runs_alone or since >= BESIDE_AFTER) and claim_suspect(take, queue, lane) then
          local is_only = runs_alone
          runs_alone = false
          return is_only
        end
        local has_to_drain = not runs_alone and drains(queue, since)
        runs_alone = false
        if has_to_drain then return true end
      end
    end
  end
  return false
end

-- write_alone(): keeps which worker is alone, and which one takes nothing until it holds nothing.
local function write_alone()
  if alone_in then
    redis.call('HSET', queue_key(alone_in), 'only_' .. worker, jobs[1][1] .. ' ' .. alone_until)
  end
  for queue, text in pairs(drained) do redis.call('HSET', queue_key(queue), 'draining', text) end
end
