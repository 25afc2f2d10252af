#!lua flags=no-writes
--[=[ list_jobs: a page of jobs, place by place, from the end of the page before; looks at a limited number of entries.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [[[place, queue, lane], ...], [offset, score, id], type, status, count, look, tag, key, ages, texts,
                  finished]
         place: 'scheduled' | 'ready' (of a queue and a lane, in the order in which they will run), 'running' (by lease
         expiry), 'dead' | 'finished' (of a queue, the latest first)
         of 'ready' the lane comes first, then the lists that were set aside from it: '*', and the others in the order of
         the numbers that number_of_list gives them, which does not change when other lists come or go
         [offset, score, id]: the entry of the first place after which to begin; id '' = at its front, or at the front of
         the list with that number
         type: of a job, status: a letter of the state; '' = any
         tag: of a job; key: the dedupe key of a job as base64url; '' or missing = any
         ages: [now_ms | 0, older_ms, younger_ms], of the time since a job was created; -1 or missing = any
         texts: [[in_job, ...], [in_error, ...]]: one text of a list must be in the job's id, or in the first part of its
         definition, or in its errors; in_error: only in its errors; [] or missing = any. They are compared byte by byte with
         what is stored, so each list has a text in all its spellings as JSON. The caller looks again at what was found:
         a text in a tag counts here too
         finished: [from_ms, before_ms], of the time at which a job has ended; -1 or missing = any
         count: jobs at most; look: entries, places and lists set aside at most. A search in texts ends early once it
         has read BYTES, with the entry that exceeds them
Reply    msgpack [[[place, offset, score, id, bytes], ...], looked, [place, offset, score, id], ended]
         place: its number in the list, from 1; score: of 'ready' the number of the list, 0 = the lane; bytes: of the
         definition and the state
         the third: the last entry that was looked at, id '' = no entry of that place; ended: nothing is left
         if an entry has gone by the next page, that page begins with the entries behind it
Errors   only those of the store ]=]
--@include now
--@include keys
--@include state
--@include asides: LANE_OF asides_of lists_of
local CHUNK, NEAR, MAX_DEPTH, MAX_RELEASED = 100, 200, 100000, 1000
-- The first part of a definition has a payload of 256 kB and all that is before it. The last part of a state has its errors.
local BYTES, SEARCHED, ERRORS = 131072, 266240, 43008
local args = cmsgpack.unpack(ARGV[1])
local places, start, count, look = args[1], args[2], args[5], args[6]
local wanted_type = args[3] ~= '' and '{"type":"' .. args[3] .. '"' or ''
local wanted_tag = (args[7] or '') ~= '' and '"' .. args[7] .. '"' or ''
local wanted_key = (args[8] or '') ~= '' and args[8] or nil
local ages = args[9] or {0, -1, -1}
local by_age = ages[2] >= 0 or ages[3] >= 0
local now = by_age and now_ms(ages[1])
local texts, finished = args[10] or {{}, {}}, args[11] or {-1, -1}
local by_text, spent = #texts[1] + #texts[2] > 0, 0
local ended_from, ended_before = finished[1], finished[2] >= 0 and finished[2] or math.huge
local by_end = ended_from >= 0 or finished[2] >= 0
-- Tags come behind the type, at most 8 of 64 characters. So the first part of the text has them, whatever is before.
local FIRST_PART = wanted_tag == '' and 1023 or 2047
local FITS = {scheduled = 'w', ready = 'w', running = 'r', dead = 'd', finished = args[4] ~= '' and args[4] or '[sc]'}
local SETS = {scheduled = scheduled_key, running = leases_key, dead = dead_key, finished = done_key}
local LATEST_FIRST = {dead = true, finished = true}
local lists_by_queue = {}

-- number_of_list(type): returns a number below 2^48. A job moves from the lane to '*', and from there to its own list.
local function number_of_list(type)
  if type == '' then return 0 end
  return type == '*' and 1 or 2 + tonumber(string.sub(redis.sha1hex(type), 1, 11), 16)
end

-- lists_from(queue, lane, first): returns {{key, number}, ...} for the lists of a lane, from the number `first` on.
local function lists_from(queue, lane, first)
  local lists = lists_by_queue[queue] or lists_of(queue, redis.call('HGET', queue_key(queue), 'aside'))
  lists_by_queue[queue] = lists
  local found = {}
  for _, list in ipairs(lists[lane]) do
    local number = number_of_list(list[2])
    if number >= first then found[#found + 1] = {list[1], number} end
  end
  table.sort(found, function(a, b) return a[2] < b[2] end)
  return found
end

-- has_tag(definition, body): whether the job whose JSON begins at `body` has the wanted tag.
local function has_tag(definition, body)
  local tags = string.match(definition, '^{"type":"[^"]*","tags":(%b[])', body)
  return tags ~= nil and string.find(tags, wanted_tag, 1, true) ~= nil
end

-- has_header(header): whether the header of a definition has the wanted dedupe key and age.
local function has_header(header)
  if wanted_key and string.match(header, ' k=([%w_-]+)') ~= wanted_key then return false end
  if not by_age then return true end
  local age = now - tonumber(string.match(header, ' c=(%d+)') or string.match(header, '^r=(%d+)'))
  return age >= ages[2] and (ages[3] < 0 or age <= ages[3])
end

-- has_one(text, wanted): whether one of the wanted texts is in the text.
local function has_one(text, wanted)
  for _, one in ipairs(wanted) do
    if string.find(text, one, 1, true) then return true end
  end
  return false
end

-- has_texts(id): whether the job has the wanted texts, in what this script reads of it.
local function has_texts(id)
  local errors = redis.call('GETRANGE', state_key(id), -ERRORS, -1)
  spent = spent + #errors
  if #texts[2] > 0 and not has_one(errors, texts[2]) then return false end
  if #texts[1] == 0 or has_one(id, texts[1]) or has_one(errors, texts[1]) then return true end
  local definition = redis.call('GETRANGE', job_key(id), 0, SEARCHED - 1)
  spent = spent + #definition
  return has_one(definition, texts[1])
end

-- fits(place, queue, lane, id): whether the entry is a job that is wanted, and not a tombstone.
local function fits(place, queue, lane, id)
  local definition = redis.call('GETRANGE', job_key(id), 0, FIRST_PART)
  local line_end = string.find(definition, '\n', 1, true)
  if not line_end then return false end
  if string.sub(definition, line_end + 1, line_end + #wanted_type) ~= wanted_type then return false end
  if wanted_tag ~= '' and not has_tag(definition, line_end + 1) then return false end
  if (wanted_key or by_age) and not has_header(string.sub(definition, 1, line_end - 1)) then return false end
  local text = redis.call('GETRANGE', state_key(id), 0, 1023)
  local fields = parse_fields(text ~= '' and text or definition)
  if not string.find(fields.s or 'w', FITS[place]) then return false end
  if by_end then
    local at = tonumber(fields.f or -1)
    if at < 0 or at < ended_from or at >= ended_before then return false end
  end
  if place == 'ready' and (queue_of(fields) ~= queue or lane_of(fields) ~= lane
    or redis.call('ZSCORE', scheduled_key(queue, lane), id)) then return false end
  return not by_text or has_texts(id)
end

-- after_in_lane(key, offset, id): claims move an entry towards the head, and releases move it away by a few places. If
-- the entry is gone, everything before it is gone too. Between two calls it moves little, so it is looked for NEAR its
-- place first. The search from the head takes the longer the deeper it is: it ends at MAX_DEPTH.
local function after_in_lane(key, offset, id)
  if redis.call('LINDEX', key, offset) == id then return offset + 1 end
  local from = math.max(0, offset - NEAR)
  local near = redis.call('LRANGE', key, from, offset + NEAR)
  for i = #near, 1, -1 do
    if near[i] == id then return from + i end
  end
  local reach = math.min(offset + 1 + MAX_RELEASED, MAX_DEPTH)
  local found = redis.call('LPOS', key, id, 'COUNT', 0, 'MAXLEN', reach)
  if #found > 0 then return found[#found] + 1 end
  return offset >= MAX_DEPTH and offset + 1 or 0
end

local function after_in_set(place, key, offset, score, id)
  local now_at = tonumber(redis.call('ZSCORE', key, id) or -1)
  if now_at == score then
    local rank = redis.call('ZRANK', key, id)
    return LATEST_FIRST[place] and redis.call('ZCARD', key) - rank or rank + 1
  end
  if place == 'running' then return offset + 1 end
  local beyond = string.format('(%d', score)
  if LATEST_FIRST[place] then return redis.call('ZCOUNT', key, beyond, '+inf') end
  return redis.call('ZCOUNT', key, '-inf', beyond)
end

-- read(place, key, offset, most): returns {{id, score}, ...} from the offset on.
local function read(place, key, offset, most)
  local entries = {}
  if place == 'ready' then
    for i, id in ipairs(redis.call('LRANGE', key, offset, offset + most - 1)) do entries[i] = {id, 0} end
    return entries
  end
  local first, last = offset, offset + most - 1
  if LATEST_FIRST[place] then
    local size = redis.call('ZCARD', key)
    first, last = math.max(0, size - offset - most), size - offset - 1
    if last < 0 then return entries end
  end
  local found = redis.call('ZRANGE', key, first, last, 'WITHSCORES')
  for i = 1, #found, 2 do entries[#entries + 1] = {found[i], tonumber(found[i + 1])} end
  if LATEST_FIRST[place] then
    for i = 1, math.floor(#entries / 2) do
      entries[i], entries[#entries + 1 - i] = entries[#entries + 1 - i], entries[i]
    end
  end
  return entries
end

local found, looked, last, ended = {}, 0, {1, start[1], start[2], start[3]}, true

-- look_into(number, key, offset, list): returns whether there may be more in a set or list of this place. `list`: its
-- number; nil of a set, whose entries have scores of their own.
local function look_into(number, key, offset, list)
  local place, queue, lane = places[number][1], places[number][2], places[number][3]
  while looked < look do
    local entries = read(place, key, offset, math.min(CHUNK, look - looked))
    for _, entry in ipairs(entries) do
      local id = entry[1]
      last = {number, offset, list or entry[2], id}
      looked, offset = looked + 1, offset + 1
      if place == 'dead' and entry[2] < ended_from then return false end
      if fits(place, queue, lane, id) then
        local bytes = redis.call('STRLEN', job_key(id)) + redis.call('STRLEN', state_key(id))
        found[#found + 1] = {number, last[2], last[3], id, bytes}
        if #found >= count then return true end
      end
      if spent >= BYTES then return true end
    end
    if #entries == 0 then return false end
  end
  return true
end

-- look_through(number): returns whether there may be more in this place.
local function look_through(number)
  local place, queue, lane = places[number][1], places[number][2], places[number][3]
  local begun = number == 1 and start[3] ~= ''
  if place ~= 'ready' then
    local key = SETS[place](queue, lane)
    local offset = 0
    if begun then
      offset = after_in_set(place, key, start[1], start[2], start[3])
    elseif place == 'dead' and finished[2] >= 0 then
      offset = redis.call('ZCOUNT', key, string.format('%d', finished[2]), '+inf')  -- those that died later come first
    end
    return look_into(number, key, offset)
  end
  for i, list in ipairs(lists_from(queue, lane, last[3])) do
    local key, list_number = list[1], list[2]
    if i > 1 then
      last, looked = {number, 0, list_number, ''}, looked + 1
      if looked >= look then return true end
    end
    local offset = begun and list_number == start[2] and after_in_lane(key, start[1], start[3]) or 0
    if look_into(number, key, offset, list_number) then return true end
  end
  return false
end

for number = 1, #places do
  looked = looked + 1
  if number > 1 then last = {number, 0, 0, ''} end
  if looked >= look or look_through(number) then
    ended = false
    break
  end
end
return cmsgpack.pack({found, looked, last, ended})
