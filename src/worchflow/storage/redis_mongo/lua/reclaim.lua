-- Moves up to ARGV[1] ids of a dead worker back to where they are the first, in order.
-- KEYS: inflight, queue, ready. ARGV: how many, prefix of execution hashes.
-- Returns the ids.
local ids = {}
for _ = 1, tonumber(ARGV[1]) do
  local id = redis.call('RPOP', KEYS[1])
  if not id then
    break
  end
  push_front(KEYS[2], KEYS[3], ARGV[2] .. id, id)
  if foreign then
    error('WRONGTYPE ' .. foreign)
  end
  ids[#ids + 1] = id
end
return ids
