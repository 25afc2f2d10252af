#!lua flags=allow-oom
--[=[ selftest: every command that the scripts use, run once, on keys of its own that it removes; so that one that the
store's user may not run is found at start-up, and not half-way through a move.
KEYS[1], KEYS[2]  the shard's base key and the same with '!'; neither is ever created
ARGV[1]  msgpack [channel, ...]: where scripts publish; an empty message is published on each
Reply    msgpack [[command, error], ...]: those that failed; safe to resend
Errors   none of its own ]=]
--@include keys
local channels = cmsgpack.unpack(ARGV[1])
local text, list, set, hash, zset =
  selftest_key('text'), selftest_key('list'), selftest_key('set'), selftest_key('hash'), selftest_key('zset')
local failed = {}

local function try(command, ...)
  local reply = redis.pcall(command, ...)
  if type(reply) == 'table' and reply.err then failed[#failed + 1] = {command, reply.err} end
end

try('TIME')
try('MSET', text, 'a')
try('MGET', text)
try('SET', text, 'a', 'PX', 60000)
try('GET', text)
try('GETRANGE', text, 0, 1)
try('PTTL', text)
try('STRLEN', text)
try('RPUSH', list, 'a', 'b')
try('LPUSH', list, 'c')
try('LRANGE', list, 0, 1)
try('LLEN', list)
try('LPOS', list, 'a', 'COUNT', 0, 'MAXLEN', 1)
try('LPOP', list, 1)
try('SADD', set, 'a', 'b')
try('SREM', set, 'a')
try('SCARD', set)
try('SISMEMBER', set, 'b')
try('SMISMEMBER', set, 'b')
try('SMEMBERS', set)
try('HSET', hash, 'a', 1)
try('HSETNX', hash, 'b', 1)
try('HINCRBY', hash, 'a', 1)
try('HGET', hash, 'a')
try('HMGET', hash, 'a', 'b')
try('HGETALL', hash)
try('HLEN', hash)
try('HDEL', hash, 'b')
try('ZADD', zset, 1, 'a', 2, 'b')
try('ZREM', zset, 'b')
try('ZCARD', zset)
try('ZCOUNT', zset, '-inf', 1)
try('ZSCORE', zset, 'a')
try('ZRANK', zset, 'a')
try('ZRANGE', zset, 0, 0, 'WITHSCORES')
try('ZRANGEBYSCORE', zset, '-inf', 1, 'LIMIT', 0, 1)
for _, key in ipairs({list, set, hash, zset}) do try('EXPIRE', key, 60) end
try('EXISTS', text)
try('DEL', text, list, set, hash, zset)
for _, channel in ipairs(channels) do try('PUBLISH', channel, '') end
return cmsgpack.pack(failed)
