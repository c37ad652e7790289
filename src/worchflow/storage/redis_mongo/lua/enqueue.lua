-- Makes executions visible: writes their hashes, puts their ids where they belong.
-- KEYS: queue, delayed, ready, then execution and steps hash of each.
-- ARGV of each: id, event, token, place, count, then count fields and values.
-- Returns for each 1, or 0 where a later write to the hash was there before.
local answers, at = {}, 1
for key = 4, #KEYS, 2 do
  local id, event, token = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local place, count = ARGV[at + 3], tonumber(ARGV[at + 4])
  local known = redis.call('HMGET', KEYS[key], 'token', 'status', 'eventName')
  local known_token = tonumber(known[1] or -1) or -1
  local is_terminal = known[2] == 'completed' or known[2] == 'failed'
    or known[2] == 'cancelled'
  -- With another event it is of a former life of the id, whatever its token.
  local is_former = known[3] and event ~= '' and known[3] ~= event
  if is_former or known_token < token or (known_token == token and not is_terminal) then
    -- Adds before it removes: a full Redis refuses new work here.
    redis.call('HSET', KEYS[key], unpack(ARGV, at + 5, at + 4 + 2 * count))
    redis.call('HDEL', KEYS[key], 'result', 'error')
    redis.call('PERSIST', KEYS[key])
    redis.call('PERSIST', KEYS[key + 1])
    answers[#answers + 1] = 1
  else
    answers[#answers + 1] = 0
  end
  if place == 'back' then
    redis.call('RPUSH', KEYS[1], id)
  elseif place == 'front' then
    push_front(KEYS[1], KEYS[3], KEYS[key], id)
  elseif place ~= 'none' then
    redis.call('ZADD', KEYS[2], place, id)
  end
  at = at + 5 + 2 * count
end
return answers
