-- New jobs, and the names of queues that come with them. Needs keys, writes. The general way of enqueue has the same in
-- line, since calls of these functions would cost it 1.5 to 3 %; tests/scripts/schedules/test_fire.py compares the two.
-- New queues are written behind commit().
-- batch_key(name): the key of the open batch of items with this name.
local function batch_key(name) return base .. 'batch:' .. name end

-- known_queues: whether the shard has a queue, for the names that were looked up.
local known_queues, new_queues, queue_count, ready_now = {}, {}, nil, nil

-- has_room_for(queue): whether the queue is known, or one more may be made.
local function has_room_for(queue)
  local known = known_queues[queue]
  if known == nil then known = redis.call('SISMEMBER', queues_key, queue) == 1 end
  if not known then
    queue_count = queue_count or redis.call('SCARD', queues_key)
    if queue_count >= MAX_QUEUES then return false end
    queue_count = queue_count + 1
    new_queues[#new_queues + 1] = queue
  end
  known_queues[queue] = true
  return true
end

-- add_job(now, key, job): puts a new job into its lane, or into `scheduled` if it is due later. It is an item of enqueue,
-- whose queue has room, and `key` is its job_key.
local function add_job(now, key, job)
  local id, queue, lane = job[1], job[2], job[3]
  local due = job[7] > 0 and job[7] or now + job[6]
  ready_now = ready_now or 'r=' .. now
  local times = due > now and 'r=' .. due .. ' c=' .. now or ready_now
  local head = job[4] ~= '' and times .. ' ' .. job[4] or times
  put(key, head .. '\n' .. job[5])
  if due > now then
    zadd(scheduled_key(queue, lane), due, id)
  else
    rpush(ready_key(queue, lane), id)
  end
  wake(queue)
end
