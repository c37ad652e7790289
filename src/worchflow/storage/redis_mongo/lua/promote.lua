-- Moves up to ARGV[2] ids that are due at ARGV[1] (milliseconds) to the queue.
-- KEYS: delayed, queue. Returns how many, and when the next is due (-1: none waits).
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  redis.call('ZREM', KEYS[1], id)
  redis.call('RPUSH', KEYS[2], id)
end
local following = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {#ids, tonumber(following[2] or -1)}
