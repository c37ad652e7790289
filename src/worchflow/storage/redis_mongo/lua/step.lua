-- Caches step results of executions that are running under the given token.
-- KEYS: execution and steps hash of each.
-- ARGV of each: token, step id, value ('' for none), channel, notice ('' for none).
-- Returns for each 1 where this value is what the cache holds, else 0, or the key that
-- holds a foreign type.
local answers = {}
for i = 1, #KEYS / 2 do
  foreign = nil
  local execution, steps, at = KEYS[2 * i - 1], KEYS[2 * i], 5 * i - 4
  local answer = 0
  if ARGV[at + 2] ~= '' then
    local known = try('HMGET', execution, 'token', 'status')
    if known and known[2] == 'processing'
      and tonumber(known[1] or -1) == tonumber(ARGV[at]) then
      if try('HSETNX', steps, ARGV[at + 1], ARGV[at + 2]) == 1
        or try('HGET', steps, ARGV[at + 1]) == ARGV[at + 2] then
        answer = 1
      end
    end
  end
  if ARGV[at + 4] ~= '' then
    redis.call('PUBLISH', ARGV[at + 3], ARGV[at + 4])
  end
  answers[i] = foreign or answer
end
return answers
