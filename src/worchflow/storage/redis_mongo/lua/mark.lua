-- Shows in the hashes that executions were claimed.
-- KEYS: execution hash of each.
-- ARGV of each: token, nonce ('' for none), shared ('' or 1), updatedAt. A hash without
-- a nonce is of an earlier execution of the id, unless it is shared: then others may have
-- written it anew, and it is marked.
-- Returns for each 1, 0 where a later write was there before, -1 for a missing hash or
-- one of an earlier execution of the id, or the key where it holds a foreign type.
local answers = {}
for i, key in ipairs(KEYS) do
  foreign = nil
  local at = 4 * i - 3
  local token, nonce = tonumber(ARGV[at]), ARGV[at + 1]
  local known = try('HMGET', key, 'id', 'token', 'nonce')
  if not known then
    answers[i] = foreign
  elseif not known[1] or (nonce ~= '' and known[3] ~= nonce
    and (known[3] or ARGV[at + 2] == '')) then
    answers[i] = -1
  elseif (tonumber(known[2] or -1) or -1) < token then
    redis.call('HSET', key, 'status', 'processing', 'token', ARGV[at],
      'updatedAt', ARGV[at + 3])
    if nonce ~= '' and not known[3] then
      redis.call('HSET', key, 'nonce', nonce)
    end
    answers[i] = 1
  else
    answers[i] = 0
  end
end
return answers
