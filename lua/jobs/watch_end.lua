#!lua flags=allow-oom
--[=[ watch_end: marks jobs that a client waits for: their end is published on the channel of finished jobs, once.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [id, ...]
Reply    msgpack [status, ...], one per id: 'waiting' | 'finished' | 'missing'
         waiting: its end will be published; a repeat changes nothing: safe to resend
Errors   only those of the store ]=]
--@include keys
--@include writes
--@include state
local statuses, marked = {}, {}

-- mark(id, text): adds the mark to the text, so that the rest keeps the form in which claim wrote it.
local function mark(id, text)
  local head, rest = string.match(text, '^([^\n]*)(.*)$')
  put(state_key(id), head .. ' v=1' .. rest)
  marked[id] = true
end

-- status_of(id): returns the status word. A waiting job that has no state yet gets one.
local function status_of(id)
  local text = redis.call('GET', state_key(id))
  local fields = text and parse_fields(text) or nil
  if fields and fields.s ~= 'w' and fields.s ~= 'r' then return 'finished' end
  if marked[id] or (fields and fields.v) then return 'waiting' end
  if not text then
    local definition = job_fields(id)
    if not definition then return 'missing' end
    local state = {s = 'w', result = '', errors = ''}
    adopt(state, definition, redis.call('STRLEN', job_key(id)))
    text = format_state(state)
  end
  mark(id, text)
  return 'waiting'
end

for i, id in ipairs(cmsgpack.unpack(ARGV[1])) do statuses[i] = status_of(id) end
commit()
return cmsgpack.pack(statuses)
