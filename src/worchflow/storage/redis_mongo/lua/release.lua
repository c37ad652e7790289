-- Releases executions: off the inflight list, the hash as it stands now, and back
-- to where the id belongs. Removes before it adds: a full Redis can be drained.
-- KEYS: queue, delayed, ready, then inflight list, execution and steps hash of each. The
-- queue may stand for an inflight list: then the id is taken out of it wherever it is.
-- ARGV of each: id, token, nonce ('' for none), place, ttl in milliseconds (0: it lives
-- on), channel, notice ('' for none), count, then count fields and values.
-- Returns for each 1, 0 where a later write or another execution of the id was there
-- before, -1 for a missing hash, or a key that holds a foreign type: all but what
-- belongs into it was done.
local answers, at = {}, 1
for key = 4, #KEYS, 3 do
  foreign = nil
  local id, token, nonce = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  local place, ttl = ARGV[at + 3], tonumber(ARGV[at + 4])
  local count = tonumber(ARGV[at + 7])
  try('LREM', KEYS[key], KEYS[key] == KEYS[1] and 0 or 1, id)
  local answer = 1
  if count > 0 then
    local known =
      try('HMGET', KEYS[key + 1], 'id', 'token', 'status', 'error', 'nonce')
    if known then
      local known_token = tonumber(known[2] or -1) or -1
      local is_terminal = known[3] == 'completed' or known[3] == 'failed'
        or known[3] == 'cancelled'
      if not known[1] then
        answer = -1
      elseif nonce ~= '' and known[5] and known[5] ~= nonce then
        answer = 0
      elseif known_token > token or (known_token == token and is_terminal) then
        answer = 0
      else
        if known[4] then
          redis.call('HDEL', KEYS[key + 1], 'error')
        end
        redis.call('HSET', KEYS[key + 1], unpack(ARGV, at + 8, at + 7 + 2 * count))
        if ttl > 0 then
          redis.call('PEXPIRE', KEYS[key + 1], ttl)
        end
      end
    end
  end
  if ttl > 0 and answer ~= 0 then
    redis.call('PEXPIRE', KEYS[key + 2], ttl)
    try('ZREM', KEYS[2], id)
  end
  if place == 'back' then
    try('RPUSH', KEYS[1], id)
  elseif place == 'front' then
    push_front(KEYS[1], KEYS[3], KEYS[key + 1], id)
  elseif place ~= 'none' then
    try('ZADD', KEYS[2], place, id)
  end
  if ARGV[at + 6] ~= '' then
    redis.call('PUBLISH', ARGV[at + 5], ARGV[at + 6])
  end
  answers[#answers + 1] = foreign or answer
  at = at + 8 + 2 * count
end
return answers
