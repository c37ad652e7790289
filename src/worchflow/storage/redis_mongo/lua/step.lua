-- Caches step results of executions that are running under the given token.
-- KEYS: execution and steps hash of each.
-- ARGV of each: token, nonce ('' for none), shared ('' or 1), step id, value ('' for
-- none), channel, notice ('' for none). A steps hash says in its field 'nonce' whose
-- steps it has; that of an earlier execution of the id goes. One that does not say it is
-- kept if it is shared: others, who do not, have recorded steps of this one.
-- Returns for each 1 where this value is what the cache holds, else 0, or the key that
-- holds a foreign type.
local answers = {}
for i = 1, #KEYS / 2 do
  foreign = nil
  local execution, steps, at = KEYS[2 * i - 1], KEYS[2 * i], 7 * i - 6
  local token, nonce = tonumber(ARGV[at]), ARGV[at + 1]
  local shared, step, value = ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local answer = 0
  if value ~= '' then
    local known = try('HMGET', execution, 'token', 'status', 'nonce')
    if known and known[2] == 'processing' and (known[3] or '') == nonce
      and tonumber(known[1] or -1) == token then
      local life = try('HGET', steps, 'nonce') or ''
      if life ~= nonce and not foreign then
        if life ~= '' or shared == '' then
          redis.call('UNLINK', steps)
        end
        if nonce ~= '' then
          redis.call('HSET', steps, 'nonce', nonce)
        end
      end
      if try('HSETNX', steps, step, value) == 1
        or try('HGET', steps, step) == value then
        answer = 1
      end
    end
  end
  if ARGV[at + 6] ~= '' then
    redis.call('PUBLISH', ARGV[at + 5], ARGV[at + 6])
  end
  answers[i] = foreign or answer
end
return answers
