-- Jobs with crashes. One with two crashes or more is a suspect: it may kill the worker that runs it. It waits in the list
-- '!' of its lane, whatever its type. Needs the head of claim, writes, state and features.
local isolates = args[12]
local runs_alone = false

-- is_refused(queue, lane, id, state): whether a job with crashes that the claim meets is delayed, since the worker may not
-- take it now. A worker with child processes runs a suspect in a child of its own: A=c. It gets no more than it has children
-- for. Another worker runs one alone: A=a.
-- Until every replica knows lists set aside, each job with crashes is taken as one that may be the cause.
local function is_refused(queue, lane, id, state)
  local is_suspect = number_of(state, 'x') >= SUSPECT
  if not is_suspect and is_open('aside') then return false end
  if is_suspect and isolates > 0 then
    isolates, state.A = isolates - 1, 'c'
    return false
  end
  if is_suspect and runs_alone then
    state.A = 'a'
    return false
  end
  if suspects > 0 and not (is_suspect and args[12] > 0) then
    suspects = suspects - 1
    return false
  end
  local due = now + defer_ms + deferred * 37 % 500
  zadd(scheduled_key(queue, lane), due, id)
  wake(queue)
  next_due = math.min(next_due or math.huge, due)
  deferred = deferred + 1
  return true
end
