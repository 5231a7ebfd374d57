#!lua name=flowfabric
-- FlowFabric's function library: swap records if nobody changed them, and hand out the next entries
-- of an index. It decides nothing else and never looks inside a record. Needs Valkey 7.2 or Redis
-- 7.0. Programs load it under names that end in this text's hash, so versions live side by side.
--
-- WIRE FORM (a test holds the Rust module `wire` against this table). All keys of a call share one
-- hash tag. Numbers are decimal text. A record is its version, 16 bytes, and its body; an absent
-- one has the version ''. A reply is a list that begins with the server's time in milliseconds.
--
-- function  keys                   arguments
-- commit    item...                tag, (counts, not_before, not_after, item...)...
-- take      index, due             tag, prefix, count, until, hold, channel
-- read      record..., value...    records
-- scan      index                  prefix, limit, score, member
-- stream    stream                 limit, from, history, time, sequence
--
-- function  reply after the time
-- commit    for each unit {0, fetched...} committed, {1, record...} conflict or {2} outside window
-- take      first score that is left, (member, score, record)...
-- read      record..., value...
-- scan      1 when there is more or 0, (member, score, record)...
-- stream    history, gap (1 or 0), time, sequence of the end, (time, sequence, content)...
--
-- `until` is '' for the end, 'now', or a score; `from` is 'start', 'end' or 'after'. What is absent
-- is nil; a value that would make a reply too large is 0. A prefix and a member are a record's key.
-- A unit's counts are one byte for each section; an item has a key and this many arguments:
local SECTIONS = {
  { 'records', 2 }, -- expected version; '' to keep, '-' to remove, or the record to write
  { 'values', 2 }, -- '+' to write or '-' to remove; the value
  { 'indexes', 2 }, -- member; score, or '' to remove
  { 'streams', 1 }, -- entry to append
  { 'rings', 2 }, -- 'filled' to ring when the unit fills the empty index, or 'always'; channel
  { 'fetches', 0 },
}
local MAX_MESSAGE_BYTES = 33554432
local MAX_JOURNAL_BYTES = 1048576
local MAX_JOURNAL_AGE_MS = 86400000


-- In milliseconds. The server's clock stands still while a function runs.
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Appends the values of keys to a reply. What would make it too large is deferred, but never the
-- first, so that each request gets on.
local function fetch(reply, keys, first, last)
  local total = 0
  for i = first, last do
    local length = first == last and 0 or redis.call('STRLEN', keys[i])
    local late = total > 0 and length > 0 and total + length > MAX_MESSAGE_BYTES
    total, reply[#reply + 1] = total + length, late and 0 or redis.call('GET', keys[i])
  end
  return reply
end

-- STREAMS. A stream is a list: that costs a fraction of a server's stream while it is short. An
-- element is 'time-sequence-end ' and the content; `end` counts all bytes of content up to here.
-- The first element has no content: it stands for the entry dropped last, 0-0 when there was none.
local HEAD = '^(%d+)%-(%d+)%-(%d+) ()'

-- What an append has to know: the last entry, the time of the first, the bytes dropped before it.
local function open(key)
  local last, first = redis.call('LINDEX', key, -1), redis.call('LINDEX', key, 1)
  if not first then return { at = 0, sequence = 0, total = 0 } end
  local at, sequence, total = last:match(HEAD)
  local first_at, _, first_end, body = first:match(HEAD)
  local stream = { at = at + 0, sequence = sequence + 0, total = total + 0 }
  stream.first_at, stream.before = first_at + 0, first_end - (#first - body + 1)
  return stream
end

-- Appends an entry, then drops what is too old or too much.
local function append(stream, key, entry, at)
  local fresh = at > stream.at
  stream.sequence = fresh and 0 or stream.sequence + 1
  stream.at, stream.total = fresh and at or stream.at, stream.total + #entry
  if not stream.first_at then
    redis.call('RPUSH', key, '0-0-0 ')
    stream.first_at, stream.before = stream.at, 0
  end
  local head = ('%.0f-%.0f-%.0f '):format(stream.at, stream.sequence, stream.total)
  redis.call('RPUSH', key, head .. entry)
  local oldest = at - MAX_JOURNAL_AGE_MS
  while stream.total - stream.before > MAX_JOURNAL_BYTES or stream.first_at < oldest do
    redis.call('LPOP', key)
    redis.call('LSET', key, 0, redis.call('LINDEX', key, 0):match('^%d+%-%d+%-%d+ '))
    stream = open(key)
  end
  return stream
end

-- Where the sections of each unit begin. The whole call is measured before anything is read or
-- written, so that an argument too many or too few is refused.
local function units_of(keys, args)
  local units, k, a = {}, 1, 2
  while a <= #args do
    local unit = { n = { args[a]:byte(1, #SECTIONS) }, k = {}, a = {} }
    unit.not_before, unit.not_after = args[a + 1] + 0, args[a + 2] + 0
    a = a + 3
    for i, section in ipairs(SECTIONS) do
      unit.k[i], unit.a[i] = k, a
      k, a = k + unit.n[i], a + unit.n[i] * section[2]
    end
    units[#units + 1] = unit
  end
  assert(k == #keys + 1 and a == #args + 1, 'the arguments do not have the form of this library')
  return units
end

-- The outcome that a unit has without writing, or nil. Scripts do not roll back: each key that a
-- write could choke on is read here, and nothing is written before the last check.
local function check(unit, keys, args, at, streams)
  local n, k, a = unit.n, unit.k, unit.a
  local current, same = { 1 }, true
  for i = 0, n[1] - 1 do
    local record = redis.call('GET', keys[k[1] + i])
    current[i + 2] = record
    same = same and (record and record:sub(1, 16) or '') == args[a[1] + 2 * i]
  end
  if not same then
    return current
  elseif at < unit.not_before or at >= unit.not_after then
    return { 2 }
  end
  for i = 0, n[3] - 1 do
    redis.call('ZCARD', keys[k[3] + i])
    assert(args[a[3] + 2 * i + 1]:match('^%-?%d*$'), 'a score is no integer')
  end
  for i = k[4], k[4] + n[4] - 1 do
    streams[keys[i]] = streams[keys[i]] or open(keys[i])
  end
end

local function put(key, bytes)
  return bytes and redis.call('SET', key, bytes) or redis.call('UNLINK', key)
end

local function write(unit, keys, args, at, streams, tag)
  local n, k, a, rings = unit.n, unit.k, unit.a, {}
  for i = 0, n[1] - 1 do
    local record = args[a[1] + 2 * i + 1]
    if record ~= '' then put(keys[k[1] + i], record ~= '-' and record) end
  end
  for i = 0, n[2] - 1 do
    put(keys[k[2] + i], args[a[2] + 2 * i] == '+' and args[a[2] + 2 * i + 1])
  end
  for i = 0, n[5] - 1 do
    rings[i] = args[a[5] + 2 * i] == 'always' or redis.call('EXISTS', keys[k[5] + i]) == 0
  end
  for i = 0, n[3] - 1 do
    local key, id, score = keys[k[3] + i], args[a[3] + 2 * i], args[a[3] + 2 * i + 1]
    if score == '' then redis.call('ZREM', key, id) else redis.call('ZADD', key, score, id) end
  end
  for i = 0, n[4] - 1 do
    local key = keys[k[4] + i]
    streams[key] = append(streams[key], key, args[a[4] + i], at)
  end
  for i = 0, n[5] - 1 do
    local mode, channel = args[a[5] + 2 * i], args[a[5] + 2 * i + 1]
    if rings[i] and (mode == 'always' or redis.call('EXISTS', keys[k[5] + i]) == 1) then
      redis.call('PUBLISH', channel, tag)
    end
  end
  return fetch({ 0 }, keys, k[6], k[6] + n[6] - 1)
end

local function commit(keys, args)
  local at, streams = now(), {}
  local reply = { at }
  for i, unit in ipairs(units_of(keys, args)) do
    local outcome = check(unit, keys, args, at, streams)
    reply[i + 1] = outcome or write(unit, keys, args, at, streams, args[1])
  end
  return reply
end

-- Appends the first entries of a range with their records to a reply of two items.
local function with_records(reply, prefix, found, count)
  local keys = {}
  for i = 1, count do
    keys[i] = prefix .. found[2 * i - 1]
  end
  for i, record in ipairs(count > 0 and redis.call('MGET', unpack(keys)) or {}) do
    reply[3 * i], reply[3 * i + 1], reply[3 * i + 2] = found[2 * i - 1], found[2 * i], record
  end
  return reply
end

local function take(keys, args)
  local at, index, due, count, till = now(), keys[1], keys[2], args[3] + 0, args[4]
  till = till == 'now' and ('%.0f'):format(at) or till == '' and '+inf' or till
  local range = { 'ZRANGE', index, '-inf', till, 'BYSCORE', 'LIMIT', 0, count + 1, 'WITHSCORES' }
  local found = redis.call(unpack(range))
  local seen = with_records({ 0, 0 }, args[2], found, math.min(count, #found / 2))
  redis.call('ZCARD', due)
  -- Everything is read: now move. What has no record goes for good.
  local reply, gone, held = { at, found[2 * count + 2] or false }, {}, {}
  for i = 3, #seen, 3 do
    local member, score, record, place = seen[i], seen[i + 1], seen[i + 2], #reply
    if record then
      reply[place + 1], reply[place + 2], reply[place + 3] = member, score, record
      held[#held + 1], held[#held + 2] = ('%.0f'):format(at + args[5]), member
    end
    if not record or index ~= due then gone[#gone + 1] = member end
  end
  if #gone > 0 then redis.call('ZREM', index, unpack(gone)) end
  if #held > 0 and index ~= due then
    redis.call('ZADD', due, 'LT', unpack(held))
  elseif #held > 0 then
    redis.call('ZADD', due, unpack(held))
    reply[2] = redis.call(unpack(range))[2] or false
  end
  if reply[2] then redis.call('PUBLISH', args[6], args[1]) end
  return reply
end

local function read(keys, args)
  local reply = { now() }
  for i = 1, args[1] do
    reply[i + 1] = redis.call('GET', keys[i])
  end
  return fetch(reply, keys, args[1] + 1, #keys)
end

-- The rank of the first entry behind a place at which no entry stands any more. Lua compares text
-- by the server's locale, so members are compared byte by byte.
local function rank_behind(index, score, member)
  local rank = redis.call('ZCOUNT', index, '-inf', '(' .. score)
  repeat
    local entry, i = redis.call('ZRANGE', index, rank, rank, 'WITHSCORES'), 1
    while entry[2] == score and i < 16 and entry[1]:byte(i) == member:byte(i) do i = i + 1 end
    local before = entry[2] == score and entry[1]:byte(i) <= member:byte(i)
    rank = rank + (before and 1 or 0)
  until not before
  return rank
end

local function scan(keys, args)
  local index, limit, score, member, from = keys[1], args[2] + 0, args[3], args[4], 0
  if score ~= '' and redis.call('ZSCORE', index, member) == score then
    from = redis.call('ZRANK', index, member) + 1
  elseif score ~= '' then
    from = rank_behind(index, score, member)
  end
  local found = redis.call('ZRANGE', index, from, from + limit, 'WITHSCORES')
  local reply = { now(), #found / 2 > limit and 1 or 0 }
  return with_records(reply, args[1], found, math.min(limit, #found / 2))
end

-- The number of the first element behind an entry: they stand in the order of time and sequence.
local function first_behind(key, at, sequence)
  local low, high = 1, redis.call('LLEN', key)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local this_at, this_sequence = redis.call('LINDEX', key, middle):match(HEAD)
    local behind = this_at + 0 > at or (this_at + 0 == at and this_sequence + 0 > sequence)
    low, high = behind and low or middle + 1, behind and middle or high
  end
  return low
end

local function stream(keys, args)
  local key, limit, from = keys[1], args[1] + 0, args[2]
  local history = redis.call('INFO', 'replication'):match('master_replid:(%x+)'):sub(1, 16)
  local head, gap, start = redis.call('LINDEX', key, 0) or '0-0-0 ', 0, 1
  local at, sequence = head:match(HEAD)
  if from == 'end' then
    start = redis.call('LLEN', key)
    at, sequence = (redis.call('LINDEX', key, -1) or head):match(HEAD)
  elseif from == 'after' then
    local old = args[4] + 0 < at + 0 or (args[4] + 0 == at + 0 and args[5] + 0 < sequence + 0)
    gap = (old or args[3] ~= history) and 1 or 0
    if gap == 0 then
      start, at, sequence = first_behind(key, args[4] + 0, args[5] + 0), args[4], args[5]
    end
  end
  local reply = { now(), history, gap, at, sequence }
  local page = limit > 0 and redis.call('LRANGE', key, start, start + limit - 1) or {}
  for i, element in ipairs(page) do
    local entry_at, entry_sequence, _, body = element:match(HEAD)
    reply[4], reply[5] = entry_at, entry_sequence
    reply[3 * i + 3], reply[3 * i + 4], reply[3 * i + 5] = reply[4], reply[5], element:sub(body)
  end
  return reply
end

local VERSION = ''
local function register(name, callback, flag)
  name = 'ff_' .. name .. VERSION
  redis.register_function({ function_name = name, callback = callback, flags = { flag } })
end
register('commit', commit)
-- What finishes work goes on when the server's memory is full: it is what frees memory.
register('commit_full', commit, 'allow-oom')
register('take', take, 'allow-oom')
register('read', read, 'no-writes')
register('scan', scan, 'no-writes')
register('stream', stream, 'no-writes')
