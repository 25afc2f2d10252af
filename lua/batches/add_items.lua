#!lua
--[=[ add_items: an item -> the payload of the open batch of its key, which is a job, scheduled; nothing -> scheduled, if none is open.
A batch that is full -> queued.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, full, copied, max_bytes, [[name, item_id, payload, remember_ms, max_items, wait_ms, job], ...]]
         full, copied: as in enqueue
         max_bytes: of the definition of a job. An item that would exceed it closes the batch, and opens the next one
         name: '<queue>:<lane>:<type>:<key as base64url>'
         item_id: the item is not added again for remember_ms, at least 1
         max_items, wait_ms: how many items fill the batch, and for how long it is open; those of its first item count
         job: an item of enqueue without a dedupe key, for a new batch. Its body ends where the items begin, behind
         '"payload":['
         A batch is open while its job is scheduled for the end of its wait, and was never claimed. So whatever ends that
         closes it: its time, a claim, run_now, cancel, purge. No other script knows batches
Reply    msgpack [[[answer, job_id, items], ...], [id, ...]]: one answer per item, and the jobs that are queued now
         'opened' | 'added': items: of the job by now | 'there' (job_id has it already; its items are not counted) |
         'full' | 'too_many_queues', without a job
         only 'opened' and 'added' change anything, except for `copied`; safe to resend: then it is 'there'
Errors   OOM, when the store is over its maxmemory; then nothing was written ]=]
--@include now
--@include keys: base MAX_QUEUES job_key state_key ready_key scheduled_key dedupe_key wake_key queues_key copied_key queue_key
--@include keys: stats_key stats_minute_key finished_channel
--@include writes
--@include state: parse_fields parse_state format_state number_of
--@include new_jobs
local args = cmsgpack.unpack(ARGV[1])
local now, full, copied, max_bytes, items = now_ms(args[1]), args[2], args[3], args[4], args[5]

-- The key of what remembers an item. An export carries it, since it is that of an Idempotency-Key too.
local function item_key(id) return dedupe_key('i:' .. id) end

-- load_batch(name, queue, lane): the open batch of this name; false if there is none.
local function load_batch(name, queue, lane)
  local found = redis.call('GET', batch_key(name))
  local id, count, due, most = string.match(found or '', '^(%S+) (%d+) (%d+) (%d+)$')
  due = tonumber(due or 0)
  if due <= now or tonumber(redis.call('ZSCORE', scheduled_key(queue, lane), id) or 0) ~= due then return false end
  local text = redis.call('GET', state_key(id))
  local state = text and parse_state(text)
  if state and (state.s ~= 'w' or state.n) then return false end
  return {name = name, id = id, queue = queue, lane = lane, count = tonumber(count), due = due, most = tonumber(most),
    size = redis.call('STRLEN', job_key(id)), state = state, texts = {}, bytes = 0}
end

-- changed: the batches of this call, each once. open: by name, false if there is none. due: the ids of the full ones.
local changed, open, due, ids, remembered = {}, {}, {}, {}, {}
for i, item in ipairs(items) do
  ids[i] = item_key(item[2])
  local job = item[7]
  if open[item[1]] == nil then open[item[1]] = load_batch(item[1], job[2], job[3]) end
end
local holders = #ids > 0 and redis.call('MGET', unpack(ids)) or {}

local function change(batch)
  if not batch.is_changed then changed[#changed + 1] = batch end
  batch.is_changed = true
end

-- close(batch): its job is due now.
local function close(batch)
  change(batch)
  batch.is_due, open[batch.name] = true, false
  due[#due + 1] = batch.id
end

local function new_batch(item)
  local job = item[7]
  return {name = item[1], id = job[1], queue = job[2], lane = job[3], job = job, count = 0, due = now + item[6],
    most = item[5], size = #job[4] + #job[5], texts = {}, bytes = 0}
end

-- add(item): returns the answer.
local function add(item)
  local name, id, payload = item[1], item[2], item[3]
  if full then return {'full', '', 0} end
  local batch, is_new = open[name], false
  if batch and batch.size + batch.bytes + #payload > max_bytes then
    close(batch)
    batch = false
  end
  if not batch then
    if not has_room_for(item[7][2]) then return {'too_many_queues', '', 0} end
    batch, is_new = new_batch(item), true
    open[name] = batch
  end
  change(batch)
  batch.texts[#batch.texts + 1] = payload
  batch.bytes, batch.count = batch.bytes + #payload + 1, batch.count + 1
  remembered[id] = {batch.id, item[4]}
  if batch.count >= batch.most then close(batch) end
  return {is_new and 'opened' or 'added', batch.id, batch.count}
end

local answers, opened = {}, 0
for i, item in ipairs(items) do
  local holder = remembered[item[2]] and remembered[item[2]][1] or holders[i]
  answers[i] = holder and {'there', holder, 0} or add(item)
  if answers[i][1] == 'opened' then opened = opened + 1 end
end

-- save_state(batch, size): a job that a client waits for has a state, which counts the bytes of the definition.
local function save_state(batch, size)
  if not batch.state then return end
  batch.state.j = size + number_of(batch.state, 'L')
  put(state_key(batch.id), format_state(batch.state))
end

-- A definition ends in ']}', which the next items replace.
local longer = {}
for _, batch in ipairs(changed) do
  local key, texts = job_key(batch.id), table.concat(batch.texts, ',') .. ']}'
  if batch.job then
    local job = batch.job
    job[5], job[6], job[7] = job[5] .. texts, 0, batch.is_due and 0 or batch.due
    add_job(now, key, job)
  elseif batch.is_due then
    if #batch.texts == 0 then texts = ']}' else texts = ',' .. texts end
    local text = string.gsub(string.sub(redis.call('GET', key), 1, -3), '^r=%d+', 'r=' .. now) .. texts
    put(key, text)
    save_state(batch, #text)
    zrem(scheduled_key(batch.queue, batch.lane), batch.id)
    rpush(ready_key(batch.queue, batch.lane), batch.id)
    wake(batch.queue)
  else
    longer[#longer + 1] = {key, batch.size - 2, ',' .. texts}
    save_state(batch, batch.size + 1 + #texts - 2)
  end
end
count(now, 'enqueued', opened)
commit()
for _, each in ipairs(longer) do redis.call('SETRANGE', each[1], each[2], each[3]) end
for name, batch in pairs(open) do
  if batch and batch.is_changed then
    local text = string.format('%s %d %.0f %d', batch.id, batch.count, batch.due, batch.most)
    redis.call('SET', batch_key(name), text, 'PX', math.max(1, batch.due - now))
  elseif not batch then
    redis.call('DEL', batch_key(name))
  end
end
for id, kept in pairs(remembered) do redis.call('SET', item_key(id), kept[1], 'PX', math.max(1, kept[2])) end
if #new_queues > 0 then redis.call('SADD', queues_key, unpack(new_queues)) end
if copied and #changed == 0 then redis.call('SET', copied_key, now) end
return cmsgpack.pack({answers, due})
