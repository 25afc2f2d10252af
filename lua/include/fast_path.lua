-- The first attempt, which is most jobs' only one: claim writes its state, and complete rewrites it, as text, without a
-- table of fields. Whatever looks different takes the longer way through parse_state and format_state.
-- Such a state is 's=r n=1 h=<random> ' and a tail, 'b=<at> w=<worker> j=<bytes>' and then those of q, l, m, t that the
-- definition has. Jobs of one claim often share their tail, so what it says is worked out once. Needs keys, state.

-- kept_fields(definition): what the state keeps of the header, each field with a space before it.
local function kept_fields(definition)
  local others = string.match(definition, '^r=%d+([^\n]*)') or ''
  return others == '' and '' or (string.gsub(others, ' [^qlmt]=%S+', ''))
end

local tails, digits = {}, {}

-- decimal(number): as text; making one costs more than most of what a script does for a job, and few differ.
local function decimal(number)
  local text = digits[number]
  if not text then
    text = string.format('%d', number)
    digits[number] = text
  end
  return text
end

-- read_tail(tail): {bytes, queue, retention}; false for one that is different, flagged for cancel among them.
local function read_tail(tail)
  local bytes, kept = string.match(tail, '^b=%d+ w=%S+ j=(%d+)([^\n]*)$')
  if not bytes or string.find(kept, ' [^qlmt]=') then return false end
  local fields = parse_fields(kept)
  return {bytes = tonumber(bytes), queue = queue_of(fields), retention = retention_of(fields)}
end

local last_token, last_head

-- first_attempt(text, token): the tail of a state that is at its first attempt under this token, and what it says; nil
-- for any other.
local function first_attempt(text, token)
  if token ~= last_token then
    last_token = token
    last_head = string.sub(token, 1, 2) == '1.' and 's=r n=1 h=' .. string.sub(token, 3) .. ' '
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
