-- The fast path: claim writes the state of a job at its first attempt, which is most jobs' only one, as text, and
-- complete rewrites that text, without a table of fields. Any other state goes through parse_state and format_state.
-- Only this file makes and reads the text of such a state, which has two parts:
--   head  's=r n=1 h=<random> '
--   tail  'b=<claimed at> w=<worker> j=<bytes>' and the fields q, l, m, t, U of the definition, as far as it has them,
--         and L if the attempt has logged. One with U is left to the general way
-- complete changes the head and keeps the tail. tests/properties/test_fast_path.py compares both paths on every state.
-- The plain ways of claim and complete include what they need of it. read_tail needs parse_fields, queue_of and
-- retention_of of state; the rest needs nothing.
local FIRST = 's=r n=1 h='

-- first_start(random, now, worker): the part of a running state that is the same for all jobs of one claim.
local function first_start(random, now, worker) return FIRST .. random .. ' b=' .. now .. ' w=' .. worker .. ' j=' end

-- fields_after_r(definition): the fields of a definition's header that follow `r`, each with a blank before it. Most
-- headers have none and many begin alike, so their beginnings are remembered.
local starts = {}
local function fields_after_r(definition)
  local start = string.sub(definition, 1, 16)
  local has_none = starts[start]
  if has_none == nil then
    has_none = string.find(start, '^r=%d+\n') ~= nil
    starts[start] = has_none
  end
  return has_none and '' or string.match(definition, '^r=%d+([^\n]*)') or ''
end

-- kept_fields(fields): those of them that the state keeps.
local kept_of = {[''] = ''}
local function kept_fields(fields)
  local kept = kept_of[fields]
  if not kept then
    kept = string.gsub(fields, ' [^qlmtU]=%S+', '')
    kept_of[fields] = kept
  end
  return kept
end

-- number_text(number): formatting costs more than most of what a script does for a job, and few lengths differ.
local number_texts = {}
local function number_text(number)
  local text = number_texts[number]
  if not text then
    text = string.format('%d', number)
    number_texts[number] = text
  end
  return text
end

-- first_state(start, definition): the state of a job that is claimed for the first time. `start` is from first_start.
local function first_state(start, definition)
  return start .. number_text(#definition) .. kept_fields(fields_after_r(definition))
end

-- first_head(token): the head of a state at its first attempt under this token; nil if it is the token of a later one.
local function first_head(token)
  return string.sub(token, 1, 2) == '1.' and FIRST .. string.sub(token, 3) .. ' ' or nil
end

-- read_tail(tail): returns {bytes, queue, retention}; false for any other text, as of a job that is flagged for cancel,
-- and of a unique one, whose key may have to be freed.
local function read_tail(tail)
  local bytes, kept = string.match(tail, '^b=%d+ w=%S+ j=(%d+)([^\n]*)$')
  if not bytes or string.find(kept, ' [^qlmtL]=') then return false end
  local fields = parse_fields(kept)
  return {bytes = tonumber(bytes), queue = queue_of(fields), retention = retention_of(fields)}
end

-- completed_state(token, now_text, tail): the state of a job that this token has completed, without its result.
local function completed_state(token, now_text, tail)
  return 's=s n=1 p=' .. token .. ' o=s f=' .. now_text .. ' ' .. tail
end

local last_token = nil
local last_head = nil
local tails = {}

-- first_attempt(text, token): if the state is at its first attempt under this token, returns its tail and the result of
-- read_tail; nil for any other state. Jobs of one claim often share their tail, so each tail is read once.
local function first_attempt(text, token)
  if token ~= last_token then last_token, last_head = token, first_head(token) end
  if not text or not last_head or string.sub(text, 1, #last_head) ~= last_head then return nil end
  local tail = string.sub(text, #last_head + 1)
  local read = tails[tail]
  if read == nil then
    read = read_tail(tail)
    tails[tail] = read
  end
  if read then return tail, read end
end
