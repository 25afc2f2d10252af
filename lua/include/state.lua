-- state:<id> is a header line of `letter=value` fields, then the result on a line of its own (empty when there is
-- none), or the checkpoint of a job that has not succeeded (K), then the last 10 errors, oldest first, each `<at ms> <JSON>` on a line of its own.
--   s status: w waiting, r running, s succeeded, d dead_letter, c cancelled
--   a attempts  n claims  x crashes (absent: 0)      j bytes of job:<id> and log:<id>  L those of log:<id>, if there is one
--   q queue  l lane  m max_attempts  t retention ms  (absent: 'default', 'default', 5, 3600000)
--   h the random part of the token while running     p the previous token  o its outcome:
--     s succeeded, r retried, d dead, c cancelled, l released, x crashed (the lease expired),
--     n snoozed
--   w worker  b last claimed at  f finished at  r ready since or due at  z=1 flagged for cancel  y the last replay
--   g when the runs began that the errors ended, with dots between (0: none began)
--   v=1 a client waits for its end, which is published then  R how often it was released  S how often it was snoozed
--   K when the checkpoint was kept  N while running: <claims>.<number of the last checkpoint in this lease>
--   U a unique job: s its key is free once it has started, f once it has finished (docs/unique.md)
--   A while running, if the claim took it as a suspect: c in a child process of its own, a alone on its worker
-- Scripts keep letters that they do not know.
local ERRORS_KEPT = 10
local MAX_CRASHES = 3
-- A job with this many crashes is a suspect: it may be the cause.
local SUSPECT = 2
local MAX_SUSPECT_CRASHES = 10

-- parse_fields(text): returns the fields of the first line as a table letter -> text.
local function parse_fields(text)
  local fields = {}
  local line_end = string.find(text, '\n', 1, true)
  if line_end then text = string.sub(text, 1, line_end - 1) end
  for letter, value in string.gmatch(text, '(%a)=([%w_.:-]+)') do fields[letter] = value end
  return fields
end

-- parse_state(text): returns the fields, and beside them `result` and `errors` (each error with its newline before it).
local function parse_state(text)
  local state = parse_fields(text)
  state.result, state.errors = '', ''
  local first = string.find(text, '\n', 1, true)
  if first then
    local second = string.find(text, '\n', first + 1, true)
    state.result = string.sub(text, first + 1, (second or #text + 1) - 1)
    if second then state.errors = string.sub(text, second) end
  end
  return state
end

local function format_state(state)
  local parts = {'s=' .. state.s}
  for letter, value in pairs(state) do
    if #letter == 1 and letter ~= 's' then parts[#parts + 1] = letter .. '=' .. value end
  end
  local text = table.concat(parts, ' ')
  if state.result ~= '' or state.errors ~= '' then text = text .. '\n' .. state.result .. state.errors end
  return text
end

-- add_error(state, now, json): keeps the last 10 errors, and when the runs began that ended with them.
local function add_error(state, now, json)
  local starts = (state.g and state.g .. '.' or '') .. (state.b or 0)
  local _, dots = string.gsub(starts, '%.', '')
  for _ = ERRORS_KEPT, dots do starts = string.gsub(starts, '^%d+%.', '') end
  state.g = starts
  local errors = state.errors .. '\n' .. now .. ' ' .. json
  local _, lines = string.gsub(errors, '\n', '')
  for _ = 1, lines - ERRORS_KEPT do
    local second = string.find(errors, '\n', 2, true)
    errors = string.sub(errors, second)
  end
  state.errors = errors
end

-- load_states(ids): returns id -> state, by one MGET. An id that is in the list twice gets one table.
local function load_states(ids)
  local states, keys = {}, {}
  for i, id in ipairs(ids) do keys[i] = state_key(id) end
  if #keys == 0 then return states end
  for i, text in ipairs(redis.call('MGET', unpack(keys))) do
    if text and not states[ids[i]] then states[ids[i]] = parse_state(text) end
  end
  return states
end

-- load_heads(ids): returns id -> the fields of its state, by one MGET, for scripts that do not write states. It makes no copy
-- of a checkpoint of up to 64 kB.
local function load_heads(ids)
  local heads, keys = {}, {}
  for i, id in ipairs(ids) do keys[i] = state_key(id) end
  if #keys == 0 then return heads end
  for i, text in ipairs(redis.call('MGET', unpack(keys))) do
    if text then heads[ids[i]] = parse_fields(text) end
  end
  return heads
end

local function number_of(state, letter) return tonumber(state[letter] or 0) end
local function queue_of(state) return state.q or 'default' end
local function lane_of(state) return state.l or 'default' end
local function retention_of(state) return tonumber(state.t or 3600000) end
local function max_attempts_of(state) return tonumber(state.m or 5) end
local function token_of(state) return state.n .. '.' .. state.h end

-- holds(state, token): whether the token is that of the current lease.
local function holds(state, token)
  return state ~= nil and state.s == 'r' and token_of(state) == token
end

-- answered(state, token, outcomes): whether this token has ended its lease with one of these outcomes, so that the call
-- is a repeat.
local function answered(state, token, outcomes)
  return state ~= nil and state.p == token and string.find(outcomes, state.o, 1, true) ~= nil
end

-- job_fields(id): returns the fields of a definition's header, without its body; nil when there is no such job.
local function job_fields(id)
  local text = redis.call('GETRANGE', job_key(id), 0, 1023)
  if text == '' then return nil end
  return parse_fields(text)
end

-- adopt(state, fields, bytes): copies into the state what later moves need from the definition.
local function adopt(state, fields, bytes)
  state.q, state.l, state.m, state.t, state.U, state.j = fields.q, fields.l, fields.m, fields.t, fields.U, bytes
end
