-- Features: kinds of keys that older versions of Queuey do not know. The field `features` of meta has those in use, with
-- a blank between them. A script asks is_open(feature) before it writes the first key of one, and goes the older way
-- while it is not open. docs/adr/0020-feature-gate.md says why.

-- features_in_use(): returns their words, '' if there are none.
local function features_in_use() return redis.call('HGET', meta_key, 'features') or '' end

-- has_word(words, word): whether one of the words is this one.
local function has_word(words, word) return string.find(' ' .. words .. ' ', ' ' .. word .. ' ', 1, true) ~= nil end

-- is_open(feature): whether this shard may hold keys of the feature. It costs one HGET.
local function is_open(feature) return has_word(features_in_use(), feature) end

-- features_of(description): the features that a replica knows by its heartbeat, whose JSON ends with them.
local function features_of(description)
  local listed = string.match(string.sub(description, -1024), '"features":%[([^%]]*)%]}$') or ''
  return (string.gsub(string.gsub(listed, '"', ''), ',', ' '))
end

-- missing_words(words, known): the words that are not among the known ones, as a table.
local function missing_words(words, known)
  local missing = {}
  for word in string.gmatch(words, '%S+') do
    if not has_word(known, word) then missing[#missing + 1] = word end
  end
  return missing
end

-- strangers(entries, features): up to 10 of the replicas that do not know all of these features. entries: of `workers`.
local function strangers(entries, features)
  local found = {}
  for i = 1, #entries, 2 do
    if #found < 10 and #missing_words(features, features_of(entries[i + 1])) > 0 then found[#found + 1] = entries[i] end
  end
  return found
end
