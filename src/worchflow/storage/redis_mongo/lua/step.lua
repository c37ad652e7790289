-- Caches step results of executions that are running under the given token.
-- KEYS: execution and steps hash of each.
-- ARGV of each: token, nonce ('' for none), step id, value ('' for none), channel,
-- notice ('' for none). A steps hash says in its field 'nonce' whose steps it has; that
-- of an earlier execution of the id goes.
-- Returns for each 1 where this value is what the cache holds, else 0.
local answers = {}
for i = 1, #KEYS / 2 do
  local execution, steps, at = KEYS[2 * i - 1], KEYS[2 * i], 6 * i - 5
  local token, nonce = tonumber(ARGV[at]), ARGV[at + 1]
  local step, value = ARGV[at + 2], ARGV[at + 3]
  local known = redis.call('HMGET', execution, 'token', 'status', 'nonce')
  answers[i] = 0
  if value ~= '' and known[2] == 'processing' and (known[3] or '') == nonce
    and tonumber(known[1] or -1) == token then
    if (redis.call('HGET', steps, 'nonce') or '') ~= nonce then
      redis.call('UNLINK', steps)
      if nonce ~= '' then
        redis.call('HSET', steps, 'nonce', nonce)
      end
    end
    if redis.call('HSETNX', steps, step, value) == 1
      or redis.call('HGET', steps, step) == value then
      answers[i] = 1
    end
  end
  if ARGV[at + 5] ~= '' then
    redis.call('PUBLISH', ARGV[at + 4], ARGV[at + 5])
  end
end
return answers
