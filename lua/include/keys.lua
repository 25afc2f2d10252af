-- The names of keys, as in queuey/store/keys.py. Those of schedules are in schedules.lua: each line here takes time in each
-- script. The base key and the same with '!' are anchors and are never created.
local base = KEYS[1]
local LANES = {'high', 'default', 'low'}
local MAX_QUEUES = 256

local function job_key(id) return base .. 'job:' .. id end
local function state_key(id) return base .. 'state:' .. id end
local function ready_key(queue, lane) return base .. 'ready:' .. queue .. ':' .. lane end
local function scheduled_key(queue, lane) return base .. 'scheduled:' .. queue .. ':' .. lane end
local function leases_key(queue) return base .. 'leases:' .. queue end
local function dead_key(queue) return base .. 'dead:' .. queue end
local function done_key(queue) return base .. 'done:' .. queue end
local function dedupe_key(encoded) return base .. 'dedupe:' .. encoded end
local function progress_key(id) return base .. 'progress:' .. id end
local function log_key(id) return base .. 'log:' .. id end
local function claim_key(claim_id) return base .. 'claim:' .. claim_id end
local function alone_key(worker) return base .. 'alone:' .. worker end
local function queue_key(queue) return base .. 'queue:' .. queue end
local function wake_key(queue) return base .. 'wake:' .. queue end
local function aside_key(queue, lane, type) return base .. 'aside:' .. queue .. ':' .. lane .. ':' .. type end
local function wake_type_key(queue, type) return base .. 'wake:' .. queue .. ':' .. type end
local queues_key = base .. 'queues'
local workers_key = base .. 'workers'
local quiet_key = base .. 'quiet'
local meta_key = base .. 'meta'
local copied_key = base .. 'copied'
local stats_key = base .. 'stats'
local events_key = base .. 'events'
local listening_key = base .. 'listening'
local function stats_minute_key(minute) return base .. 'stats:' .. minute end
local function selftest_key(type) return base .. 'selftest:' .. type end

-- finished_channel(): the channel for the ends of watched jobs, as in queuey/store/keys.py. It belongs to no shard.
local function finished_channel() return string.match(base, '^(.*):{%d+}:$') .. ':finished' end
-- asides_channel(): the channel on which the names of lists set aside are published. It belongs to no shard.
local function asides_channel() return string.match(base, '^(.*):{%d+}:$') .. ':asides' end
-- asides_message(queue, names): its messages.
local function asides_message(queue, names) return base .. ' ' .. queue .. names end
