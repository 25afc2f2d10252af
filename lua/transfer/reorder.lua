#!lua flags=allow-oom
--[=[ reorder: gives restored jobs that wait to be promoted the order that they had in their lane.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [queue, lane, [[id, position], ...]]; position: below 0, the last of the lane has -1
Reply    msgpack [arranged]: how many were found; others (promoted since, tombstones, unknown) do not change
         safe to resend
Errors   only those of the store ]=]
--@include keys
--@include writes
local args = cmsgpack.unpack(ARGV[1])
local scheduled, arranged = scheduled_key(args[1], args[2]), 0
for _, entry in ipairs(args[3]) do
  local score = redis.call('ZSCORE', scheduled, entry[1])
  if score and tonumber(score) < 0 then
    zadd(scheduled, entry[2], entry[1])
    arranged = arranged + 1
  end
end
commit()
return cmsgpack.pack({arranged})
