#!lua
--[=[ keep_log: keeps the lines that attempts log, beside the state: the last ones of all attempts, as long as the job.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [ttl_ms, most, most_bytes, [[id, token, lines], ...]]
         lines: all that this attempt has kept, each as '<claim>.<attempt> <at ms> <level> <text as JSON>' and a newline.
         They replace those of the same claim, so that a part of them may be sent again with what came after; unless
         they are an older copy of them, which arrives late
         most, most_bytes: of the lines of all attempts the last so many are kept, with so many bytes of text
         ttl_ms: for which a log may stay behind, when an older version deletes its job
Reply    msgpack [status, ...], one per job: 'ok' | 'lost'
         lost: the token is neither that of the current lease, nor that of the last one that its holder has ended
         safe to resend. A late copy is known by its last line, as long as that is kept
Errors   OOM, when the store is over its maxmemory; then nothing was written ]=]
--@include keys
--@include writes
--@include state
local args = cmsgpack.unpack(ARGV[1])
local ttl_ms, most, most_bytes, items = args[1], args[2], args[3], args[4]
local ids = {}
for i, item in ipairs(items) do ids[i] = item[1] end
local states = load_heads(ids)

-- may_log(state, token): whether the attempt runs, or was the last to end, unless its lease expired.
local function may_log(state, token)
  return holds(state, token) or (state ~= nil and state.p == token and state.o ~= 'x')
end

local function has(lines, line)
  for _, each in ipairs(lines) do
    if each == line then return true end
  end
  return false
end

-- is_older(given, kept): whether an attempt had logged the last line of `given` before it logged the last of `kept`.
local function is_older(given, kept)
  return #given > 0 and #kept > 0 and has(kept, given[#given]) and not has(given, kept[#kept])
end

-- merged(old, claim, lines): the lines of all attempts in the order of their claims, as far as they are kept.
local function merged(old, claim, lines)
  local before, kept, given, after = {}, {}, {}, {}
  for line in string.gmatch(old, '[^\n]+') do
    local of = tonumber(string.match(line, '^%d+') or 0)
    local part = of < claim and before or of > claim and after or kept
    part[#part + 1] = line
  end
  for line in string.gmatch(lines, '[^\n]+') do given[#given + 1] = line end
  if is_older(given, kept) then return old end
  local all = {}
  for _, part in ipairs({before, given, after}) do
    for _, line in ipairs(part) do all[#all + 1] = line end
  end
  local first, bytes = #all + 1, 0
  for i = #all, math.max(1, #all - most + 1), -1 do
    bytes = bytes + #(string.match(all[i], '^%S+ %S+ %S+ (.*)$') or all[i])
    if bytes > most_bytes then break end
    first = i
  end
  return first > #all and '' or table.concat(all, '\n', first) .. '\n'
end

-- with_field(text, letter, value): the text of a state with this field of its header.
local function with_field(text, letter, value)
  local line_end = string.find(text, '\n', 1, true)
  local head, rest = text, ''
  if line_end then head, rest = string.sub(text, 1, line_end - 1), string.sub(text, line_end) end
  local field = ' ' .. letter .. '=' .. string.format('%d', value)
  local changed, count = string.gsub(head, ' ' .. letter .. '=%-?%d+', field, 1)
  return (count > 0 and changed or head .. field) .. rest
end

local BYTES_OF = {d = 'dead_bytes', s = 'done_bytes', c = 'done_bytes'}
local statuses, logs, texts = {}, {}, {}
for i, item in ipairs(items) do
  local id, token, state = item[1], item[2], states[item[1]]
  statuses[i] = 'lost'
  if may_log(state, token) then
    statuses[i] = 'ok'
    -- Without L, a log is that of a job that an older version deleted, whose id was used again.
    local old = logs[id] or state.L and redis.call('GET', log_key(id)) or ''
    local new = merged(old, tonumber(string.match(token, '^%d+')), item[3])
    if new ~= old then
      local text = texts[id] or redis.call('GET', state_key(id))
      -- An older version that replaces the payload of a dead job leaves the bytes of the log out of `j`.
      local bytes = redis.call('STRLEN', job_key(id)) + #new
      local edited = with_field(with_field(text, 'j', bytes), 'L', #new)
      local counted = BYTES_OF[state.s]
      if counted then hincr(queue_key(queue_of(state)), counted, bytes - number_of(state, 'j') + #edited - #text) end
      state.j, state.L = bytes, #new
      logs[id], texts[id] = new, edited
      put(state_key(id), edited)
    end
  end
end
commit()
for id, log in pairs(logs) do
  if log == '' then
    redis.call('DEL', log_key(id))
  else
    redis.call('SET', log_key(id), log, 'PX', ttl_ms)
  end
end
return cmsgpack.pack(statuses)
