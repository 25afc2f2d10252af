-- Jobs with crashes. One with two crashes or more is a suspect: it may kill the worker that runs it. It waits in the list
-- '!' of its lane, whatever its type. Needs the head of claim, writes, state and naming.
local has_children, isolating = (args[12] or -1) >= 0, {args[12] or 0}
-- How a suspect of the list is claimed by a worker without child processes: alone, or beside others in the end.
local runs_alone, runs_beside = false, false

-- delay(queue, lane, id): the job is due again a little later.
local function delay(queue, lane, id)
  local due = now + defer_ms + deferred * 37 % 500
  zadd(scheduled_key(queue, lane), due, id)
  wake(queue)
  next_due = math.min(next_due or math.huge, due)
  deferred = deferred + 1
end

-- is_refused(queue, lane, id, state): whether a job with crashes that the claim meets is put elsewhere, since the worker may
-- not take it now. A worker with child processes runs a suspect in a child of its own: A=c. Another worker runs one alone:
-- A=a. Until jobs may be set aside, each job with crashes is taken as one that may be the cause.
local function is_refused(queue, lane, id, state)
  local is_suspect = number_of(state, 'x') >= SUSPECT
  if not is_suspect and may_set_aside() then return false end
  if is_suspect and isolating[1] > 0 then
    isolating[1], state.A = isolating[1] - 1, 'c'
    return false
  end
  if is_suspect and may_set_aside() then
    if runs_alone then state.A = 'a' end
    if runs_alone or runs_beside then return false end
    deferred = deferred + 1
    set_suspect_aside(queue, lane, id)
    return true
  end
  if suspects > 0 then
    suspects = suspects - 1
    return false
  end
  delay(queue, lane, id)
  return true
end
