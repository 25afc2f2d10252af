#!lua flags=allow-oom
--[=[ checkpoint: keeps a value with running jobs, by the lease holder, for their next attempts; only the last value.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [now_ms | 0, [[id, token, value, number | nothing], ...]]; value: JSON on one line, '' = none any more
         number: counts the values of this lease, from 1
Reply    msgpack [status, ...], one per job: 'ok' | 'lost'; lost: the token is not that of the current lease
         a value with a lower number than the last one is answered 'ok', and changes nothing: safe to resend
         without a number it is safe to resend only until a later value was sent, which a late copy would replace
Errors   only those of the store ]=]
--@include now
--@include keys: base state_key wake_key stats_minute_key finished_channel
--@include writes: writes put in_chunks commit
--@include state: parse_fields parse_state format_state load_states number_of token_of holds
--@include transitions: save
local args = cmsgpack.unpack(ARGV[1])
local now, items = now_ms(args[1]), args[2]
local ids = {}
for i, item in ipairs(items) do ids[i] = item[1] end
local states = load_states(ids)

-- is_late(state, number): whether a later value of this lease came before.
local function is_late(state, number)
  local claims, last = string.match(state.N or '', '^(%d+)%.(%d+)$')
  return claims == state.n and number < tonumber(last)
end

local statuses = {}
for i, item in ipairs(items) do
  local id, token, value, number = item[1], item[2], item[3], item[4]
  local state = states[id]
  statuses[i] = holds(state, token) and 'ok' or 'lost'
  if statuses[i] == 'ok' and not (number and is_late(state, number)) then
    state.K, state.result = value ~= '' and now or nil, value
    if number then state.N = state.n .. '.' .. string.format('%.0f', number) end
    save(id, state)
  end
end
commit()
return cmsgpack.pack(statuses)
