-- Shows in the hashes that executions were claimed, and tells who is listening.
-- KEYS: execution hash of each.
-- ARGV of each: token, nonce ('' for none), updatedAt, channel, notice ('' for none).
-- Returns for each 1, 0 where a later write was there before, -1 for a missing hash or
-- one of an earlier execution of the id, or the key where it holds a foreign type.
local answers = {}
for i, key in ipairs(KEYS) do
  foreign = nil
  local at = 5 * i - 4
  local token, nonce = tonumber(ARGV[at]), ARGV[at + 1]
  local known = try('HMGET', key, 'id', 'token', 'nonce')
  if not known then
    answers[i] = foreign
  elseif not known[1] or (nonce ~= '' and known[3] ~= nonce) then
    answers[i] = -1
  elseif (tonumber(known[2] or -1) or -1) < token then
    redis.call('HSET', key, 'status', 'processing', 'token', ARGV[at],
      'updatedAt', ARGV[at + 2])
    answers[i] = 1
  else
    answers[i] = 0
  end
  if answers[i] ~= 0 and ARGV[at + 4] ~= '' then
    redis.call('PUBLISH', ARGV[at + 3], ARGV[at + 4])
  end
end
return answers
