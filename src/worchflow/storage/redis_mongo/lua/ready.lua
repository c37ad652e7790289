-- Begins, behind the guard, the scripts that know ready lists: the waiting ids of one
-- event each.

-- The event in an execution's hash; nil without one: MongoDB has to decide.
local function event_of(execution)
  -- A key of another type is an error, which is a table here.
  local event = redis.pcall('HGET', execution, 'eventName')
  if type(event) == 'string' and event ~= '' then
    return event
  end
  return nil
end

-- Puts an id before all that wait for the same workers: what waits in a ready list has
-- been at the queue's front already.
local function push_front(queue, ready, execution, id)
  local event = event_of(execution)
  local list = ready .. ':' .. (event or '')
  local length = event and redis.pcall('LLEN', list)
  if type(length) ~= 'number' or length == 0 then
    list = queue
  end
  try('LPUSH', list, id)
end

