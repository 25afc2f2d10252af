-- add_count(now, name, by): adds to a counter of the shard at once, in total and by the minute (kept for two hours). The
-- plain ways use it; the others plan the same with count() of writes. Needs stats_key and stats_minute_key.
local function add_count(now, name, by)
  redis.call('HINCRBY', stats_key, name, by)
  local minute = stats_minute_key(math.floor(now / 60000))
  if redis.call('HINCRBY', minute, name, by) == by then redis.call('EXPIRE', minute, 7200) end
end
