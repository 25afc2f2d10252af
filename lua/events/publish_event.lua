#!lua flags=allow-oom
--[=[ publish_event: adds events of jobs to the stream while a subscriber listens; keeps the last `most` for an hour.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [most, [event, ...]]; event: JSON, as in queuey/services/events/publisher.py
Reply    msgpack [status, ...], one per event: 'ok' | 'nobody'
         nobody: there is no subscriber, and nothing was kept; an event that is sent again is there twice
Errors   only those of the store ]=]
--@include keys
local args = cmsgpack.unpack(ARGV[1])
local most, events, statuses = args[1], args[2], {}
local status = redis.call('EXISTS', listening_key) == 1 and 'ok' or 'nobody'
for i, event in ipairs(events) do
  if status == 'ok' then redis.call('XADD', events_key, 'MAXLEN', '~', most, '*', 'd', event) end
  statuses[i] = status
end
if status == 'ok' and #events > 0 then redis.call('EXPIRE', events_key, 3600) end
return cmsgpack.pack(statuses)
