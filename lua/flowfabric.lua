#!lua name=flowfabric
-- The function library of FlowFabric. It replaces records if their versions have not changed, and
-- takes the next entries of an index. It decides nothing else, and never looks inside a record. It
-- needs Valkey 7.2 or Redis 7.0. Its names end in the hash of this text, so that versions coexist.
--
-- WIRE FORM (a test compares this table with the Rust module `wire`). All keys of a call share one
-- hash tag. Numbers are decimal text. A record is its version, 16 bytes, and its body; an absent
-- record has the version ''. A reply is a list that begins with the time of the server in ms. The
-- last argument of a call is a tag, with which its reply ends: so no reply is taken for another's.
-- function  keys                   arguments
-- commit    item...                tag, (counts, not_before, not_after, bytes, item...)...
-- take      due, (queue, list)...  tag, prefix, count, bytes, until, hold, channel or '', name...
-- read      record..., value...    records
-- scan      index                  prefix, limit, bytes, score, member
-- stream    stream                 limit, from, history, time, sequence
-- function  reply after the time
-- commit    for each unit {0, fetched...} committed, {1, record...} conflict or {2} outside window
-- take      the first remaining score of each queue, (queue, member, score, record)...
-- read      record..., value...
-- scan      1 if there are more entries or 0, (member, score, record)...
-- stream    history, gap (1 or 0), time, sequence of the end, element...
-- Records that have reached `bytes` end a page; the reply to a conflict of several records that
-- have more is {1}. A take without queues is from `due`. `retention` counts as a queue without a
-- list and a name: its key stands twice. A wake-up is the partition, for `due` and a queue followed
-- by its first score, for a queue also by its name in the list of queues.
-- `until` is '+inf', 'now', or a score; `from` is 'start', 'end' or 'after'. A value is nil
-- if absent, and 0 if it would make the reply too large. Prefix and member form a record key.
-- The counts of a unit are one byte for each section. A queue has a second key, the list of its
-- namespace's queues. An item has a key and this many arguments:
-- records 2: expected version; '' to keep, '-' to remove, or the record to write
-- values 2: '+' to write or '-' to remove, which removes a stream too; the value
-- indexes 3: member; score, or '' to remove; channel to ring if it is first and soon due, or ''
-- queues 4: member; score, or '' to remove; name in the list; channel to ring, or ''
-- streams 4: entry to append; the most bytes, entries and age of the stream with it
-- rings 1: channel
-- fetches 0
local MAX_MESSAGE_BYTES = 33554432
local DUE_SOON_MS = 5000
-- redis.call, which does not exist while the library is loaded: now() runs first and sets it.
local call

-- In milliseconds. The clock of the server does not advance while a function runs.
local function now()
  call = redis.call
  local time = call('TIME')
  return time[1] * 1000 + (time[2] - time[2] % 1000) / 1000
end

-- Appends the values of keys to a reply. Values that would make it too large are deferred, except
-- for the first one, so that each request makes progress.
local function fetch(reply, keys, first, last)
  local total = 0
  for i = first, last do
    local length = first == last and 0 or call('STRLEN', keys[i])
    local late = total > 0 and length > 0 and total + length > MAX_MESSAGE_BYTES
    total, reply[#reply + 1] = total + length, late and 0 or call('GET', keys[i])
  end
  return reply
end

-- STREAMS. A stream is a list, which takes a fraction of the memory of a native stream while it is
-- short. An element is a head and the content. The head of an entry has its time and sequence, the
-- bytes of content up to its end, the bytes dropped so far, and the time of the oldest entry. The
-- first element has no content: it is the head of the entry dropped last, 0:0 if there was none.
local HEAD = '^(%d+):(%d+):(%d+):(%d+):(%d+) ()'
local ANY_ENTRIES = 4294967295

-- The state that an append needs: the numbers of the last head.
local function open(key)
  local last = call('LINDEX', key, -1)
  if not last then return { 0, 0, 0, 0, new = {} } end
  local at, sequence, total, dropped, oldest = last:match(HEAD)
  return { at + 0, sequence + 0, total + 0, dropped + 0, oldest + 0, new = {} }
end

-- Writes the entries that were appended.
local function push(stream, key)
  if #stream.new > 0 then call('RPUSH', key, unpack(stream.new)) end
  stream.new = {}
end

-- Drops entries that are too old or too many, then appends one.
local function append(stream, key, args, a, at)
  local entry, bytes, entries, age = args[a], args[a + 1] + 0, args[a + 2] + 0, args[a + 3] + 0
  if at > stream[1] then stream[1], stream[2] = at, 0 else stream[2] = stream[2] + 1 end
  stream[3] = stream[3] + #entry
  if not stream[5] then stream.new[1] = '0:0:0:0:0 ' end
  stream[5] = stream[5] or stream[1]
  while stream[3] - stream[4] > bytes or stream[5] < at - age
    or entries < ANY_ENTRIES and call('LLEN', key) + #stream.new > entries do
    push(stream, key)
    call('LPOP', key)
    local first = call('LINDEX', key, 0)
    local _, _, total, _, _, body = first:match(HEAD)
    call('LSET', key, 0, first:sub(1, body - 1))
    stream[4], stream[5] = total + 0, (call('LINDEX', key, 1) or stream[1] .. ':'):match('%d+') + 0
  end
  stream.new[#stream.new + 1] = ('%d:%d:%d:%d:%d '):format(unpack(stream)) .. entry
  if #stream.new > 1000 then push(stream, key) end
end

-- COMMIT. The functions of a section get its first key, its first argument and its number of items.
-- Returns the present records if one of them has another version than expected.
local function conflict(keys, args, k, a, n, bytes)
  for i = 0, n - 1 do
    if call('GETRANGE', keys[k + i], '0', '15') ~= args[a + 2 * i] then
      local current, total = { 1 }, 0
      for j = 0, n - 1 do total = total + call('STRLEN', keys[k + j]) end
      if n > 1 and total > bytes then return current end
      for j = 0, n - 1 do current[j + 2] = call('GET', keys[k + j]) end
      return current
    end
  end
end

local function write_records(keys, args, k, a, n)
  for i = 0, n - 1 do
    local record = args[a + 2 * i + 1]
    if record == '-' then call('UNLINK', keys[k + i])
    elseif record ~= '' then call('SET', keys[k + i], record) end
  end
end

local function write_values(keys, args, k, a, n, streams)
  for i = 0, n - 1 do
    local key, value = keys[k + i], args[a + 2 * i + 1]
    if args[a + 2 * i] == '+' then call('SET', key, value) else call('UNLINK', key) end
    -- A removed stream starts again.
    if streams[key] then streams[key] = { 0, 0, 0, 0, new = {} } end
  end
end

local function ring_first(channel, partition, score, name)
  call('PUBLISH', channel, table.concat({ partition, score, name }, ' '))
end

-- Entries of one index are collected, and written with one command for all units.
local function flush(index, all)
  if all.adds then call('ZADD', index, unpack(all)) else call('ZREM', index, unpack(all)) end
end

local function put(indexes, index, id, score)
  local entries, adds = indexes[index], score ~= ''
  if not entries or entries.adds ~= adds or #entries > 4000 then
    if entries then flush(index, entries) end
    entries = { adds = adds }
    indexes[index] = entries
  end
  if adds then entries[#entries + 1] = score end
  entries[#entries + 1] = id
end

-- A queue is in the list while it has entries, with its first score or a lower one. The list is
-- written first, and cleaned last, so that an error between two writes never hides a queue. The
-- list has at most the score in `lowest`.
local function put_queue(indexes, lowest, keys, args, k, b)
  local queue, list, id, score = keys[k], keys[k + 1], args[b], args[b + 1]
  local name, channel = args[b + 2], args[b + 3]
  if score == '' then
    if indexes[queue] then flush(queue, indexes[queue]) end
    indexes[queue], lowest[queue] = nil, nil
    local left = call('ZREM', queue, id) == 0 or call('EXISTS', queue) == 1
    if not left then call('ZREM', list, name) end
  else
    if score + 0 < (lowest[queue] or math.huge) then
      lowest[queue] = score + 0
      local lower = call('ZADD', list, 'LT', 'CH', score, name) == 1
      if lower and channel ~= '' then ring_first(channel, args[1], score, name) end
    end
    put(indexes, queue, id, score)
  end
end

-- Measures the whole call before anything is read or written, so that a call with an argument too
-- many or too few is refused.
local function measure(keys, args)
  local k, a = 1, 2
  while a <= #args do
    local n, v, x, q, s, r, f = args[a]:byte(1, 7)
    k, a = k + n + v + x + 2 * q + s + r + f, a + 4 + 2 * (n + v) + 3 * x + 4 * (q + s) + r
  end
  assert(k == #keys + 1 and a == #args + 1, 'the arguments do not have the form of this library')
end

-- Scripts do not roll back. So first everything is read: a key of the wrong type fails there. Then
-- indexes are written: they are derived, and the next commit corrects them. A record is in one unit
-- only, so that no check depends on the writes of other units.
local function commit(keys, args)
  local at, units, streams, k, a = now(), {}, {}, 1, 2
  local reply, indexes, lowest, soon = { at }, {}, {}, {}
  measure(keys, args)
  while a <= #args do
    local n, v, x, q, s, r, f = args[a]:byte(1, 7)
    local an, kv, av = a + 4, k + n, a + 4 + 2 * n
    local kx, ax = kv + v, av + 2 * v
    local kq, aq = kx + x, ax + 3 * x
    local ks, as = kq + 2 * q, aq + 4 * q
    local kr, ar, kf = ks + s, as + 4 * s, ks + s + r
    local outcome = conflict(keys, args, k, an, n, args[a + 3] + 0)
    if not outcome and (at < args[a + 1] + 0 or at >= args[a + 2] + 0) then outcome = { 2 } end
    if not outcome then
      for i = ks, kr - 1 do streams[keys[i]] = streams[keys[i]] or open(keys[i]) end
      units[#units + 1] = { #reply + 1, k, an, n, kv, av, v, kx, ax, x, kq, aq, q, ks, as, s, ar, r,
        kf, f }
    end
    reply[#reply + 1] = outcome or false
    k, a = kf + f, ar + r
  end
  for _, unit in ipairs(units) do
    local _, _, _, _, _, _, _, kx, ax, x, kq, aq, q = unpack(unit)
    for i = 0, x - 1 do
      local index, b = keys[kx + i], ax + 3 * i
      local score, channel = args[b + 1], args[b + 2]
      put(indexes, index, args[b], score)
      if channel ~= '' and score ~= '' and math.abs(score - at) <= DUE_SOON_MS then
        soon.index, soon.channel, soon[score] = index, channel, true
      end
    end
    for i = 0, q - 1 do put_queue(indexes, lowest, keys, args, kq + 2 * i, aq + 4 * i) end
  end
  for index, entries in pairs(indexes) do flush(index, entries) end
  local first = soon.index and call('ZRANGE', soon.index, 0, 0, 'WITHSCORES')[2]
  if first and soon[first] then ring_first(soon.channel, args[1], first) end
  for _, unit in ipairs(units) do
    local place, kn, an, n, kv, av, v, _, _, _, _, _, _, ks, as, s, ar, r, kf, f = unpack(unit)
    write_records(keys, args, kn, an, n)
    if v > 0 then write_values(keys, args, kv, av, v, streams) end
    for i = 0, s - 1 do append(streams[keys[ks + i]], keys[ks + i], args, as + 4 * i, at) end
    for i = 0, r - 1 do call('PUBLISH', args[ar + i], args[1]) end
    reply[place] = fetch({ 0 }, keys, kf, kf + f - 1)
  end
  for key, stream in pairs(streams) do push(stream, key) end
  return reply
end

-- Reads the records of the first entries of a range, until they have so many bytes, and returns
-- them and their number. It reads the index too, whose value is unused: while a slot is being
-- imported, one key alone reads as absent, but two keys raise an error.
local function records_of(index, prefix, found, count, bytes)
  local records, seen, total = {}, 0, 0
  while seen < count and (seen == 0 or total < bytes) do
    local keys, i = { index }, 1
    for j = seen + 1, math.min(seen + 32, count) do keys[#keys + 1] = prefix .. found[2 * j - 1] end
    local read = call('MGET', unpack(keys))
    while i < #keys and (seen == 0 or total < bytes) do
      i, seen = i + 1, seen + 1
      records[seen], total = read[i], total + #(read[i] or '')
    end
  end
  return records, seen
end

-- The first entries of an index up to a score: member, score, ...
local function first_of(index, till, count)
  return call('ZRANGE', index, '-inf', till, 'BYSCORE', 'LIMIT', 0, count, 'WITHSCORES')
end

-- The first entries of some queues in the order of their scores, and the queue of each.
local function merged(keys, till, count)
  if #keys == 3 then return first_of(keys[2], till, count), {} end
  local all, found, from = {}, {}, {}
  for q = 1, (#keys - 1) / 2 do
    local some = first_of(keys[2 * q], till, count)
    for i = 1, #some, 2 do all[#all + 1] = { some[i], some[i + 1], q, #all, some[i + 1] + 0 } end
  end
  table.sort(all, function(a, b) return a[5] < b[5] or a[5] == b[5] and a[4] < b[4] end)
  for i = 1, math.min(count, #all) do
    found[2 * i - 1], found[2 * i], from[i] = all[i][1], all[i][2], all[i][3]
  end
  return found, from
end

-- Entries without a record are removed. All but `due` has been read, and `due` is written first.
local function take(keys, args)
  local at, due, count, channel, from_due = now(), keys[1], args[3] + 0, args[7], #keys == 1
  if from_due then keys = { due, due, due } end
  local till = args[5] == 'now' and ('%d'):format(at) or args[5]
  local found, from = merged(keys, till, count)
  local records, seen = records_of(keys[2], args[2], found, #found / 2, args[4] + 0)
  local queues, hold = (#keys - 1) / 2, ('%d'):format(math.min(at + args[6], 2 ^ 52))
  local reply, gone, held, best = { at }, {}, {}, nil
  for q = 1, queues do gone[q] = {} end
  for i = 1, seen do
    local member, queue, place = found[2 * i - 1], from[i] or 1, queues + 1 + 2 * #held
    if records[i] then
      reply[place + 1], reply[place + 2] = queue - 1, member
      reply[place + 3], reply[place + 4] = found[2 * i], records[i]
      held[#held + 1], held[#held + 2] = hold, member
    end
    if not records[i] or not from_due then table.insert(gone[queue], member) end
  end
  if #held > 0 and not from_due then call('ZADD', due, 'LT', unpack(held)) end
  for q = 1, queues do
    local queue, list, name = keys[2 * q], keys[2 * q + 1], args[7 + q]
    if #gone[q] > 0 then call('ZREM', queue, unpack(gone[q])) end
    local skip = ('%d'):format(from_due and #held / 2 or 0)
    local rest = call('ZRANGE', queue, skip, skip, 'WITHSCORES')[2] or false
    if #held > 0 and from_due then call('ZADD', due, unpack(held)) end
    if name then
      if rest then call('ZADD', list, rest, name) else call('ZREM', list, name) end
    end
    if rest and (not best or rest + 0 < best[1] + 0) then best = { rest, name } end
    reply[q + 1] = rest
  end
  if from_due then best = #held > 0 and (best or {}) end
  if best and channel ~= '' then ring_first(channel, args[1], best[1], best[2]) end
  return reply
end

local function read(keys, args)
  local reply = { now() }
  for i = 1, args[1] do reply[i + 1] = call('GET', keys[i]) end
  return fetch(reply, keys, args[1] + 1, #keys)
end

-- The rank of the first entry after a position whose entry was removed. Lua compares text by the
-- locale of the server, so members are compared byte by byte.
local function rank_behind(index, score, member)
  local rank = call('ZCOUNT', index, '-inf', '(' .. score)
  repeat
    local entry, i = call('ZRANGE', index, rank, rank, 'WITHSCORES'), 1
    while entry[2] == score and i < 16 and entry[1]:byte(i) == member:byte(i) do i = i + 1 end
    local before = entry[2] == score and entry[1]:byte(i) <= member:byte(i)
    rank = rank + (before and 1 or 0)
  until not before
  return rank
end

local function scan(keys, args)
  local at, index, limit, score, member, from = now(), keys[1], args[2] + 0, args[4], args[5], 0
  if score ~= '' then
    local there = call('ZSCORE', index, member) == score
    from = there and call('ZRANK', index, member) + 1 or rank_behind(index, score, member)
  end
  local found = call('ZRANGE', index, from, from + limit, 'WITHSCORES')
  local most, bytes = math.min(limit, #found / 2), args[3] + 0
  local records, count = records_of(index, args[1], found, most, bytes)
  local reply = { at, #found / 2 > count and 1 or 0 }
  for i = 1, count do
    reply[3 * i], reply[3 * i + 1] = found[2 * i - 1], found[2 * i]
    reply[3 * i + 2] = records[i]
  end
  return reply
end

-- The number of the first element after an entry; elements are in the order of time and sequence.
local function first_behind(key, at, sequence)
  local low, high = 1, call('LLEN', key)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local this_at, this_sequence = call('LINDEX', key, middle):match(HEAD)
    local at_or_before = this_at + 0 < at or (this_at + 0 == at and this_sequence + 0 <= sequence)
    if at_or_before then low = middle + 1 else high = middle end
  end
  return low
end

local function stream(keys, args)
  local now_at, key, limit, from = now(), keys[1], args[1] + 0, args[2]
  local history = call('INFO', 'replication'):match('master_replid:(%x+)'):sub(1, 16)
  local head, gap, start = call('LINDEX', key, 0) or '0:0:0:0:0 ', 0, 1
  local at, sequence = head:match(HEAD)
  if from == 'end' then
    start = call('LLEN', key)
    at, sequence = (call('LINDEX', key, -1) or head):match(HEAD)
  elseif from == 'after' then
    local old = args[4] + 0 < at + 0 or (args[4] + 0 == at + 0 and args[5] + 0 < sequence + 0)
    gap = (old or args[3] ~= history) and 1 or 0
    if gap == 0 then
      start, at, sequence = first_behind(key, args[4] + 0, args[5] + 0), args[4], args[5]
    end
  end
  local elements = call('LRANGE', key, start, start + limit - 1)
  if #elements > 0 then at, sequence = elements[#elements]:match(HEAD) end
  return { now_at, history, gap, at, sequence, unpack(elements) }
end
-- Returns those of the commands, each with its first argument, that the caller has no right to.
local function rights(_, args)
  local may, gone = redis.acl_check_cmd, {}
  for i = 1, #args, 2 do if not may(args[i], args[i + 1]) then gone[#gone + 1] = args[i] end end
  return gone
end
local VERSION = ''
local function register(name, callback, flag)
  local function tagged(keys, args)
    local tag = table.remove(args)
    local reply = callback(keys, args)
    reply[#reply + 1] = tag
    return reply
  end
  name = 'ff_' .. name .. VERSION
  redis.register_function({ function_name = name, callback = tagged, flags = { flag } })
end
register('commit', commit)
register('commit_full', commit, 'allow-oom') -- It frees memory when the server has none left.
register('take', take, 'allow-oom')
register('read', read, 'no-writes')
register('scan', scan, 'no-writes')
register('stream', stream, 'no-writes')
register('rights', rights, 'no-writes')
