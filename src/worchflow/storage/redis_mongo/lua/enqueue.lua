-- Makes executions visible: writes their hashes, puts their ids where they belong.
-- KEYS: queue, delayed, ready, then execution and steps hash of each.
-- ARGV of each: id, event, token, nonce ('' for none), shared ('' or 1), place, count,
-- then count fields and values. A hash with another nonce, or event, is of an earlier
-- execution of the id: it goes, and so do its steps. So is one without a nonce, unless
-- it is shared: then others may have written it anew.
-- Returns for each 1, 0 where a later write to the hash was there before, or the key
-- of a foreign type that kept the execution from being queued.
local answers, at = {}, 1
for key = 4, #KEYS, 2 do
  foreign = nil
  local id, event, token = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local nonce, shared = ARGV[at + 3], ARGV[at + 4]
  local place, count = ARGV[at + 5], tonumber(ARGV[at + 6])
  local known = try('HMGET', KEYS[key], 'token', 'status', 'nonce', 'eventName')
  if known then
    local answer = 0
    local known_token = tonumber(known[1] or -1) or -1
    local is_terminal = known[2] == 'completed' or known[2] == 'failed'
      or known[2] == 'cancelled'
    local is_unmarked = shared ~= '' and not known[3]
    local is_earlier = nonce ~= '' and known[2] and known[3] ~= nonce and not is_unmarked
      or event ~= '' and known[4] and known[4] ~= event
    if is_earlier then
      redis.call('UNLINK', KEYS[key], KEYS[key + 1])
      known_token = -1
    end
    if known_token < token or (known_token == token and not is_terminal) then
      -- Adds before it removes: a full Redis refuses new work here.
      redis.call('HSET', KEYS[key], unpack(ARGV, at + 7, at + 6 + 2 * count))
      redis.call('HDEL', KEYS[key], 'result', 'error')
      redis.call('PERSIST', KEYS[key])
      redis.call('PERSIST', KEYS[key + 1])
      answer = 1
    end
    if place == 'back' then
      try('RPUSH', KEYS[1], id)
    elseif place == 'front' then
      push_front(KEYS[1], KEYS[3], KEYS[key], id)
    elseif place ~= 'none' then
      try('ZADD', KEYS[2], place, id)
    end
    answers[#answers + 1] = foreign or answer
  else
    answers[#answers + 1] = foreign
  end
  at = at + 7 + 2 * count
end
return answers
