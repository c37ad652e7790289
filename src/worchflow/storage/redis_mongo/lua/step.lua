-- Caches step results of executions that are running under the given token.
-- KEYS: execution and steps hash of each.
-- ARGV of each: token, step id, value ('' for none), channel, notice ('' for none).
-- Returns for each 1 where this value is what the cache holds, else 0.
local answers = {}
for i = 1, #KEYS / 2 do
  local execution, steps, at = KEYS[2 * i - 1], KEYS[2 * i], 5 * i - 4
  local known = redis.call('HMGET', execution, 'token', 'status')
  answers[i] = 0
  if ARGV[at + 2] ~= '' and known[2] == 'processing'
    and tonumber(known[1] or -1) == tonumber(ARGV[at]) then
    if redis.call('HSETNX', steps, ARGV[at + 1], ARGV[at + 2]) == 1
      or redis.call('HGET', steps, ARGV[at + 1]) == ARGV[at + 2] then
      answers[i] = 1
    end
  end
  if ARGV[at + 4] ~= '' then
    redis.call('PUBLISH', ARGV[at + 3], ARGV[at + 4])
  end
end
return answers
