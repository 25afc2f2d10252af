#!lua
--[=[ set_payload: replaces the definition of a dead job, and removes its checkpoint; its header stays.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [id, body]; body: the definition's JSON
Reply    msgpack 'ok' | 'wrong_state' | 'missing'; wrong_state: not in the dead-letter queue; safe to resend
Errors   OOM, when the store is over its maxmemory; then nothing was written ]=]
--@include keys
--@include writes
--@include state
local args = cmsgpack.unpack(ARGV[1])
local id, body = args[1], args[2]
local definition, text = redis.call('GET', job_key(id)), redis.call('GET', state_key(id))
if not definition then return cmsgpack.pack('missing') end
local state = text and parse_state(text)
if not state or state.s ~= 'd' then return cmsgpack.pack('wrong_state') end

local edited = string.match(definition, '^[^\n]*\n') .. body
local before = number_of(state, 'j') + #text
state.j = #edited + number_of(state, 'L')
if state.K then state.K, state.result = nil, '' end
local after = format_state(state)
put(job_key(id), edited)
put(state_key(id), after)
hincr(queue_key(queue_of(state)), 'dead_bytes', state.j + #after - before)
commit()
return cmsgpack.pack('ok')
