#!lua flags=no-writes
--[=[ get: what is known of some jobs.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [id, ...]
Reply    msgpack [[definition, state, lease_expires_ms, due_ms], ...], one per id
         a missing job has '' as its definition; one never claimed nor cancelled '' as its state;
         lease_expires_ms is -1 unless it runs; due_ms is -1 unless it is scheduled
Errors   none of its own ]=]
--@include keys
--@include state
local replies = {}
for i, id in ipairs(cmsgpack.unpack(ARGV[1])) do
  local definition = redis.call('GET', job_key(id)) or ''
  local text = redis.call('GET', state_key(id)) or ''
  local lease, due = -1, -1
  if definition ~= '' then
    local fields = parse_fields(text ~= '' and text or definition)
    if fields.s == 'r' then
      lease = tonumber(redis.call('ZSCORE', leases_key(queue_of(fields)), id) or -1)
    elseif not fields.s or fields.s == 'w' then
      due = tonumber(redis.call('ZSCORE', scheduled_key(queue_of(fields), lane_of(fields)), id) or -1)
    end
  end
  replies[i] = {definition, text, lease, due}
end
return cmsgpack.pack(replies)
