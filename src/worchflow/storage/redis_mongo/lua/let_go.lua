-- Lets go of executions: off the inflight list, the hash as it stands now, and back
-- to where the id belongs. Removes before it adds: a full Redis can be drained.
-- KEYS: queue, delayed, ready, then inflight list, execution and steps hash of each.
-- ARGV of each: id, token, place, ttl in milliseconds (0: it lives on), channel,
-- notice ('' for none), count, then count fields and values.
-- Returns for each 1, 0 where a later write was there before, -1 for a missing hash.
local answers, at = {}, 1
for key = 4, #KEYS, 3 do
  local id, token, place = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  local ttl, count = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 6])
  redis.call('LREM', KEYS[key], 1, id)
  local answer = 1
  if count > 0 then
    local known =
      redis.call('HMGET', KEYS[key + 1], 'id', 'token', 'status', 'error')
    local known_token = tonumber(known[2] or -1) or -1
    local is_terminal = known[3] == 'completed' or known[3] == 'failed'
      or known[3] == 'cancelled'
    if not known[1] then
      answer = -1
    elseif known_token > token or (known_token == token and is_terminal) then
      answer = 0
    else
      if known[4] then
        redis.call('HDEL', KEYS[key + 1], 'error')
      end
      redis.call('HSET', KEYS[key + 1], unpack(ARGV, at + 7, at + 6 + 2 * count))
      if ttl > 0 then
        redis.call('PEXPIRE', KEYS[key + 1], ttl)
      end
    end
  end
  if ttl > 0 and answer ~= 0 then
    redis.call('PEXPIRE', KEYS[key + 2], ttl)
    redis.call('ZREM', KEYS[2], id)
  end
  if place == 'back' then
    redis.call('RPUSH', KEYS[1], id)
  elseif place == 'front' then
    push_front(KEYS[1], KEYS[3], KEYS[key + 1], id)
  elseif place ~= 'none' then
    redis.call('ZADD', KEYS[2], place, id)
  end
  if ARGV[at + 5] ~= '' then
    redis.call('PUBLISH', ARGV[at + 4], ARGV[at + 5])
  end
  answers[#answers + 1] = answer
  at = at + 7 + 2 * count
end
return answers
