-- Uses every command that answers at once, on keys of its own that it removes again.
-- KEYS: a hash, a list, a sorted set and a text that do not exist. ARGV: channel.
-- Returns what Redis refuses: a command, a space and its error, for each.
local refused = {}
local function try(command, ...)
  local answer = redis.pcall(command, ...)
  if type(answer) == 'table' and answer.err then
    refused[#refused + 1] = command .. ' ' .. answer.err
  end
end
local hash, list, zset, text = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
try('SET', text, '', 'NX')
try('GET', text)
try('HSET', hash, 'a', '1')
try('HSETNX', hash, 'a', '1')
try('HGET', hash, 'a')
try('HMGET', hash, 'a')
try('HGETALL', hash)
try('PEXPIRE', hash, '60000')
try('PERSIST', hash)
try('HDEL', hash, 'a')
try('RPUSH', list, 'a')
try('LPUSH', list, 'a')
try('LLEN', list)
try('LRANGE', list, '0', '0')
try('LREM', list, '1', 'b')
try('LPOP', list)
try('RPOP', list)
try('ZADD', zset, '1', 'a')
try('ZCARD', zset)
try('ZRANGE', zset, '0', '0', 'WITHSCORES')
try('ZRANGEBYSCORE', zset, '-inf', '1', 'LIMIT', '0', '1')
try('ZREM', zset, 'a')
try('PUBLISH', ARGV[1], '')
try('UNLINK', hash, list, zset, text)
return refused
