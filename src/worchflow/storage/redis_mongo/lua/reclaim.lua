-- Moves up to ARGV[1] ids of a dead worker back to the queue's front, in order.
-- KEYS: inflight, queue. Returns the ids.
local ids = {}
for _ = 1, tonumber(ARGV[1]) do
  local id = redis.call('RPOP', KEYS[1])
  if not id then
    break
  end
  redis.call('LPUSH', KEYS[2], id)
  ids[#ids + 1] = id
end
return ids
