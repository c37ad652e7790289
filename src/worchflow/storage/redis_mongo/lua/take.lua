-- Gives a worker ids of its events: one of each ready list in turn, and of the queue.
-- What comes before it in the queue is sorted, in order, into the ready lists: all that
-- others serve, and what has others of its event there. Removes before it adds: a full
-- Redis can be drained, and nothing is lost or doubled in it.
-- KEYS: queue, inflight list, ready, then the ready list of each of its events.
-- ARGV: how many ids, how many of the queue are looked at (0: none, all are given),
-- whose turn it is, prefix of execution hashes, control channel, then its events, then
-- ids that are in its inflight list already: they count, or are sorted as well.
-- Returns how many were sorted, then the ids that are its own now.
local queue, inflight, ready = KEYS[1], KEYS[2], KEYS[3]
local limit, sortable, turn = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local answer, looked_at, sorted, served = {0}, 0, 0, {}
for i = 4, #KEYS do
  served[ARGV[i + 2]] = KEYS[i]
end

local function give(id)
  redis.call('RPUSH', inflight, id)
  answer[#answer + 1] = id
end

-- Whether it could be: the key may be somebody's of another type.
local function sort(event, id)
  local length = redis.pcall('RPUSH', ready .. ':' .. event, id)
  if type(length) ~= 'number' then
    return false
  end
  sorted = sorted + 1
  if length == 1 then
    -- Whoever waits for it found the list empty, so its first id is told, no other.
    redis.pcall('HSET', ready, event, 1)
    redis.call('PUBLISH', ARGV[5], 'ready ' .. event)
  end
  return true
end

local function give_of_list(i)
  local id = redis.pcall('LPOP', KEYS[i])
  if type(id) ~= 'string' then
    return false
  end
  give(id)
  if redis.call('LLEN', KEYS[i]) == 0 then
    redis.pcall('HDEL', ready, ARGV[i + 2])
  end
  return true
end

local function give_of_queue()
  while sortable == 0 or looked_at < sortable do
    local id = redis.call('LPOP', queue)
    if not id then
      return false
    end
    looked_at = looked_at + 1
    local event = sortable > 0 and event_of(ARGV[4] .. id)
    local own = event and served[event]
    local is_first = not event or own and redis.pcall('LLEN', own) == 0
    if is_first or not sort(event, id) then
      give(id)
      return true
    end
  end
  return false
end

for i = #KEYS + 3, #ARGV do
  local id = ARGV[i]
  local event = sortable > 0 and event_of(ARGV[4] .. id)
  if not event or served[event] then
    answer[#answer + 1] = id
  elseif redis.call('LREM', inflight, 1, id) == 1 and not sort(event, id) then
    give(id)
  end
end

local places = {}
for i = 0, #KEYS - 3 do
  places[i + 1] = 3 + (turn + i) % (#KEYS - 2)
end
while #places > 0 and #answer <= limit do
  local filled = {}
  for _, i in ipairs(places) do
    if #answer > limit then
      break
    end
    if i == 3 and give_of_queue() or i > 3 and give_of_list(i) then
      filled[#filled + 1] = i
    end
  end
  places = filled
end
answer[1] = sorted
return answer
