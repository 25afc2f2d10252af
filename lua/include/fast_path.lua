-- The fast path: claim writes the state of a job at its first attempt, which is most jobs' only one, as text, and
-- complete rewrites that text, without a table of fields. Any other state goes through parse_state and format_state.
-- Only this file makes and reads the text of such a state, which has two parts:
--   head  's=r n=1 h=<random> '
--   tail  'b=<claimed at> w=<worker> j=<bytes>' and the fields q, l, m, t of the definition, as far as it has them
-- complete changes the head and keeps the tail. tests/properties/test_fast_path.py compares both paths on every state.
-- Needs keys and state.

local FIRST = 's=r n=1 h='
local digits = {}
local tails = {}

-- first_start(random, now, worker): the part of a running state that is the same for all jobs of one claim.
local function first_start(random, now, worker) return FIRST .. random .. ' b=' .. now .. ' w=' .. worker .. ' j=' end

-- first_state(start, definition): the state of a job that is claimed for the first time. `start` is from first_start.
-- Formatting a number costs more than most of what a script does for a job, and few lengths differ.
local function first_state(start, definition)
  local length = #definition
  local bytes = digits[length]
  if not bytes then
    bytes = string.format('%d', length)
    digits[length] = bytes
  end
  local others = string.match(definition, '^r=%d+([^\n]*)') or ''
  if others == '' then return start .. bytes end
  return start .. bytes .. string.gsub(others, ' [^qlmt]=%S+', '')
end

-- read_tail(tail): returns {bytes, queue, retention}; false for any other text, as of a job that is flagged for cancel.
local function read_tail(tail)
  local bytes, kept = string.match(tail, '^b=%d+ w=%S+ j=(%d+)([^\n]*)$')
  if not bytes or string.find(kept, ' [^qlmt]=') then return false end
  local fields = parse_fields(kept)
  return {bytes = tonumber(bytes), queue = queue_of(fields), retention = retention_of(fields)}
end

local last_token, last_head

-- first_attempt(text, token): if the state is at its first attempt under this token, returns its tail and the result of
-- read_tail; nil for any other state. Jobs of one claim often share their tail, so each tail is read once.
local function first_attempt(text, token)
  if token ~= last_token then
    last_token = token
    last_head = string.sub(token, 1, 2) == '1.' and FIRST .. string.sub(token, 3) .. ' '
  end
  if not text or not last_head or string.sub(text, 1, #last_head) ~= last_head then return nil end
  local tail = string.sub(text, #last_head + 1)
  local read = tails[tail]
  if read == nil then
    read = read_tail(tail)
    tails[tail] = read
  end
  if read then return tail, read end
end
