-- Schedules. Needs keys, writes. schedule:<name> is a header line of `letter=value` fields, then the pause as JSON, which
-- is empty unless the schedule is paused, then the spec, which no script reads:
--   u uid  v version  a anchor of its ticks  c created at  m replaced at  n next tick (absent: it has ended)  d when that
--   tick is due (absent: at the tick)  t the last tick that was decided  j the id of the last job
--   p the tick that waits for the end of that job  i the id of its job  k its kind  P paused at
-- runs:<name> has a line for each of the last runs, newest first: `<tick> <at> <kind> <outcome> <job id | -> <count>`.
-- Scripts keep letters that they do not know.
local function schedule_key(name) return base .. 'schedule:' .. name end
local function runs_key(name) return base .. 'runs:' .. name end
local schedule_names_key = base .. 'schedule_names'
local ticks_key = base .. 'ticks'
local waiting_ticks_key = base .. 'waiting_ticks'
-- The audit log, which is here since each line in keys takes time in all scripts.
local audit_key = base .. 'audit'
local MAX_SCHEDULES = 10000
-- The list of runs is cut to RUNS_KEPT when it is longer than MOST_RUNS.
local RUNS_KEPT = 50
local MOST_RUNS = 60

-- ticks_channel(): the channel on which it is announced that a tick comes earlier. It belongs to no shard.
local function ticks_channel() return string.match(base, '^(.*):{%d+}:$') .. ':ticks' end

-- whole(number): its digits. Lua writes numbers above 14 digits as 1e+15.
local function whole(number) return string.format('%.0f', number) end

-- parse_schedule(text): returns the letters, and beside them `pause` and `spec`.
local function parse_schedule(text)
  local head, pause, spec = string.match(text, '^([^\n]*)\n([^\n]*)\n(.*)$')
  local schedule = {pause = pause, spec = spec}
  for letter, value in string.gmatch(head, '(%a)=([%w_.:-]+)') do schedule[letter] = value end
  return schedule
end

-- load_schedule(name): returns it, or nil.
local function load_schedule(name)
  local text = redis.call('GET', schedule_key(name))
  return text and parse_schedule(text) or nil
end

-- mark_of(schedule): '<uid>.<version>', which is another one after each put; '' if there is no schedule.
local function mark_of(schedule) return schedule and schedule.u .. '.' .. schedule.v or '' end

-- fits(schedule, mark): whether the caller means this one. '*' means any, '' means that there is none.
local function fits(schedule, mark) return mark == '*' or mark == mark_of(schedule) end

-- set_next(schedule, next, due): its next tick, -1 = none, and when it is due, which is not before the tick.
local function set_next(schedule, next, due)
  schedule.n = next >= 0 and whole(next) or nil
  schedule.d = next >= 0 and due > next and whole(due) or nil
end

-- drop_pending(schedule): no tick waits for the end of the last job any more.
local function drop_pending(schedule) schedule.p, schedule.i, schedule.k = nil, nil, nil end

-- save_schedule(name, schedule): plans to write it, with its places. At most once for each schedule in a call, since
-- commit removes from places before it adds.
local function save_schedule(name, schedule)
  local parts, active = {}, schedule.pause == ''
  for letter, value in pairs(schedule) do
    if #letter == 1 then parts[#parts + 1] = letter .. '=' .. value end
  end
  put(schedule_key(name), table.concat(parts, ' ') .. '\n' .. schedule.pause .. '\n' .. schedule.spec)
  if active and schedule.n then zadd(ticks_key, schedule.d or schedule.n, name) else zrem(ticks_key, name) end
  if active and schedule.p then zadd(waiting_ticks_key, 0, name) else zrem(waiting_ticks_key, name) end
end

-- announce_ticks(now, schedules): says on which shard the first tick of these schedules is due, and in how many ms, so
-- that replicas that sleep until a later tick wake up earlier.
local function announce_ticks(now, changed)
  local first
  for _, schedule in pairs(changed) do
    local due = schedule.pause == '' and tonumber(schedule.d or schedule.n)
    if due then first = math.min(first or math.huge, due) end
  end
  if first then
    local shard = string.match(base, '{(%d+)}:$')
    redis.call('PUBLISH', ticks_channel(), shard .. ' ' .. whole(math.max(0, first - now)))
  end
end

-- add_run(...): plans a line of the history, and write_runs() writes them all.
local runs = {}
local function add_run(name, tick, now, kind, outcome, id, count)
  local line = {whole(tick), whole(now), kind, outcome, id or '-', whole(count or 1)}
  runs[#runs + 1] = {runs_key(name), table.concat(line, ' ')}
end

-- last_run(name): the newest line of the history, which may be one of this call; '' if there is none.
local function last_run(name)
  for i = #runs, 1, -1 do
    if runs[i][1] == runs_key(name) then return runs[i][2] end
  end
  return redis.call('LINDEX', runs_key(name), 0) or ''
end

local function write_runs()
  for _, run in ipairs(runs) do
    if redis.call('LPUSH', run[1], run[2]) > MOST_RUNS then redis.call('LTRIM', run[1], 0, RUNS_KEPT - 1) end
  end
end
