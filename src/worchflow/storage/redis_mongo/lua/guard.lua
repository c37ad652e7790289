-- Stands before the scripts that write for many executions in one call: a key that
-- holds a value of another type must keep nobody but its own execution waiting.
local foreign
-- Runs a command. Where its key holds another type the answer is nil, and `foreign`
-- becomes the key; any other error ends the script as it does with `redis.call`.
local function try(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) == 'table' and answer.err then
    if not string.find(answer.err, 'WRONGTYPE', 1, true) then
      error(answer.err)
    end
    foreign = foreign or key
    return nil
  end
  return answer
end
