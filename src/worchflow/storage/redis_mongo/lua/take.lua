-- Moves up to ARGV[1] ids from the queue to a worker's inflight list.
-- KEYS: queue, inflight. Returns the ids.
local ids = redis.call('LPOP', KEYS[1], ARGV[1])
if not ids then
  return {}
end
for _, id in ipairs(ids) do
  redis.call('RPUSH', KEYS[2], id)
end
return ids
