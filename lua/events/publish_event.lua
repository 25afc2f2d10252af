#!lua flags=allow-oom
--[=[ publish_event: what became of jobs, for those who follow the events; about the last `most` are kept, for an hour.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [most, [event, ...]]; event: JSON, as in queuey/services/events/publisher.py
Reply    msgpack [status, ...], one per event: 'ok' | 'nobody'
         nobody: nobody follows them, and nothing was kept; what is sent again stands there twice
Errors   none of its own ]=]
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
