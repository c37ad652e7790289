-- Publishes messages. KEYS: the execution hash of each, which is not looked at.
-- ARGV of each: channel, message. Returns 1 for each.
local answers = {}
for i = 1, #KEYS do
  redis.call('PUBLISH', ARGV[2 * i - 1], ARGV[2 * i])
  answers[i] = 1
end
return answers
