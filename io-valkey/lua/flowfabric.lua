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
-- scan      index                  prefix, limit, bytes, 'up' or 'down', score, member
-- stream    stream                 limit, from, history, time, sequence
-- function  reply after the time
-- commit    for each unit: 0, fetched... committed; 1, record... conflict; 2 outside window
-- take      the first remaining score of each queue, (queue, member, score, record)...
-- read      record..., value...
-- scan      1 if there are more entries or 0, (member, score, record)...
-- stream    history, gap (1 or 0), time, sequence of the end, element...
-- Records that have reached `bytes` end a page; the reply to a conflict of several records that
-- have more is 3. A take without queues is from `due`. `retention` counts as a queue without a
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
-- counts 2: name in the list of its namespace's counts; the number to add
-- streams 4: entry to append; the most bytes, entries and age of the stream with it
-- rings 1: channel, which is rung once for a call
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

-- Appends the values of keys to a reply: those in `written`, or else those of the server. Values
-- that would make it too large are deferred, except for the first one, so that each request makes
-- progress.
local function fetch(reply, keys, first, last, written)
  local total = 0
  for i = first, last do
    local value, length = written[keys[i]], 0
    if value then length = #value
    elseif value == nil and first < last then length = call('STRLEN', keys[i]) end
    if total > 0 and length > 0 and total + length > MAX_MESSAGE_BYTES then value = 0
    elseif value == nil then value = call('GET', keys[i]) end
    total, reply[#reply + 1] = total + length, value
  end
  return reply
end

-- STREAMS. A stream is a list, which takes a fraction of the memory of a native stream while it is
-- short. An element is a head and the content. The head of an entry has its time and sequence, the
-- bytes of content up to its end, the bytes dropped so far, and the time of the oldest entry. The
-- first element is the entry dropped last, or 0:0 if there was none. It counts for no cap.
local HEAD = '^(%d+):(%d+):(%d+):(%d+):(%d+) '
local NO_ENTRY = '0:0:0:0:0 '
local ANY_ENTRIES = 4294967295

-- The last element or false, and the numbers of its head. The positions of the entries to append
-- come after them.
local function open(key)
  local last = call('LINDEX', key, -1)
  return { last, (last or NO_ENTRY):match(HEAD) }
end

-- An element of the list with the new ones.
local function element(key, new, i)
  return call('LINDEX', key, i) or new[i - call('LLEN', key) + 1]
end

-- Appends the entries, and drops those that are then too old or too many: `gone` elements from the
-- first one, which may be among the new ones. The list changes at the end only.
local function append(key, stream, args, at)
  local last, sequence, total, dropped = stream[2] + 0, stream[3] + 0, stream[4] + 0, stream[5] + 0
  local oldest, new, gone, first = stream[1] and stream[6] + 0, {}, 0, nil
  for i = 7, #stream do
    local a = stream[i]
    local entry, bytes, entries, age = args[a], args[a + 1] + 0, args[a + 2] + 0, args[a + 3] + 0
    if at > last then last, sequence = at, 0 else sequence = sequence + 1 end
    total = total + #entry
    if not oldest then oldest, new[1] = last, NO_ENTRY end
    while total - dropped > bytes or oldest < at - age
      or entries < ANY_ENTRIES and call('LLEN', key) + #new - gone > entries do
      gone, first = gone + 1, first or element(key, new, gone + 1)
      dropped, first = first:match('^%d+:%d+:(%d+)') + 0, element(key, new, gone + 1)
      oldest = first and first:match('^%d+') + 0 or last
    end
    new[#new + 1] = ('%d:%d:%d:%d:%d '):format(last, sequence, total, dropped, oldest) .. entry
  end
  for i = 1, #new, 4000 do call('RPUSH', key, unpack(new, i, math.min(i + 3999, #new))) end
  if gone > 0 then call('LTRIM', key, gone, -1) end
end

local function ring_first(channel, partition, score, name)
  call('PUBLISH', channel, table.concat({ partition, score, name }, ' '))
end

-- COMMIT. Adds a change of an index to its batch: one command makes all additions to the index, or
-- all removals from it, that no change of the other kind separates.
local function put(batches, index, id, score)
  local batch, adds = batches[index], score ~= ''
  if not batch or batch.adds ~= adds or #batch > 4000 then
    batch = { index = index, adds = adds, list = false, name = false, channel = false,
      lowest = math.huge, lower = false }
    batches[index], batches[#batches + 1] = batch, batch
  end
  local count = #batch
  if adds then batch[count + 1], batch[count + 2] = score, id else batch[count + 1] = id end
  return batch
end

-- A queue is in the list while it has entries, with its first score or a lower one.
local function put_queue(batches, keys, args, k, a)
  local score = args[a + 1]
  local batch = put(batches, keys[k], args[a], score)
  batch.list, batch.name, batch.channel = keys[k + 1], args[a + 2], args[a + 3]
  if score ~= '' and score + 0 < batch.lowest then
    batch.lowest, batch.lower = score + 0, batch.lower or {}
    table.insert(batch.lower, score)
  end
end

-- The list is written first, and cleaned last, so that an error between two writes never hides a
-- queue.
local function write_batch(batch, partition)
  local index, list, name = batch.index, batch.list, batch.name
  for _, score in ipairs(batch.lower or {}) do
    local lower = call('ZADD', list, 'LT', 'CH', score, name) == 1
    if lower and batch.channel ~= '' then ring_first(batch.channel, partition, score, name) end
  end
  if batch.adds then call('ZADD', index, unpack(batch))
  elseif call('ZREM', index, unpack(batch)) > 0 and list and call('EXISTS', index) == 0 then
    call('ZREM', list, name)
  end
end

-- Appends the reply of a unit of which a record has another version than expected.
local function conflict(reply, keys, k, n, bytes)
  local total, place = 0, #reply + 1
  for i = k, k + n - 1 do total = total + call('STRLEN', keys[i]) end
  local fits = n == 1 or total <= bytes
  reply[place] = fits and 1 or 3
  for i = 1, fits and n or 0 do reply[place + i] = call('GET', keys[k + i - 1]) end
end

-- Scripts do not roll back. So first everything is read, and the writes are collected: a key of the
-- wrong type fails there, and so does a call with an argument too many or too few. Then indexes are
-- written: they are derived, and the next commit corrects them. A record is in one unit only, so
-- that no check depends on the writes of other units.
local function commit(keys, args)
  local at, partition, last, k, a = now(), args[1], #args, 1, 2
  local reply, batches, soon, streams, rings = { at }, {}, {}, {}, {}
  -- Keys and texts to write, keys to remove, and what units write to values: a text or false.
  local texts, gone, values, counts = {}, {}, {}, {}
  while a <= last do
    local n, v, x, q, c, s, r, f = args[a]:byte(1, 8)
    local not_before, not_after, bytes, same = args[a + 1] + 0, args[a + 2] + 0, args[a + 3], true
    a = a + 4
    for i = 0, n - 1 do
      same = same and call('GETRANGE', keys[k + i], '0', '15') == args[a + 2 * i]
    end
    if not same or at < not_before or at >= not_after then
      if same then reply[#reply + 1] = 2 else conflict(reply, keys, k, n, bytes + 0) end
      k = k + n + v + x + 2 * q + c + s + r + f
      a = a + 2 * (n + v + c) + 3 * x + 4 * (q + s) + r
    else
      for _ = 1, n do
        local key, record = keys[k], args[a + 1]
        if record == '-' then gone[#gone + 1] = key
        elseif record ~= '' then texts[#texts + 1], texts[#texts + 2] = key, record end
        k, a = k + 1, a + 2
      end
      for _ = 1, v do
        local key = keys[k]
        values[key] = args[a] == '+' and args[a + 1]
        -- A removed stream starts again.
        if not values[key] then streams[key] = { false, 0, 0, 0, 0, 0 } end
        k, a = k + 1, a + 2
      end
      for _ = 1, x do
        local index, score, channel = keys[k], args[a + 1], args[a + 2]
        put(batches, index, args[a], score)
        if channel ~= '' and score ~= '' and math.abs(score - at) <= DUE_SOON_MS then
          soon.index, soon.channel, soon[score] = index, channel, true
        end
        k, a = k + 1, a + 3
      end
      for _ = 1, q do
        put_queue(batches, keys, args, k, a)
        k, a = k + 2, a + 4
      end
      for _ = 1, c do
        local list, name = keys[k], args[a]
        local count = counts[list .. name] or { list, name, 0 }
        counts[list .. name], count[3] = count, count[3] + args[a + 1]
        k, a = k + 1, a + 2
      end
      for _ = 1, s do
        local stream = streams[keys[k]] or open(keys[k])
        streams[keys[k]], stream[#stream + 1] = stream, a
        k, a = k + 1, a + 4
      end
      for _ = 1, r do
        rings[args[a]] = true
        k, a = k + 1, a + 1
      end
      reply[#reply + 1] = 0
      fetch(reply, keys, k, k + f - 1, values)
      k = k + f
    end
  end
  assert(k == #keys + 1 and a == last + 1, 'the arguments do not have the form of this library')
  -- Nothing corrects a count later. So it is read first too, and written with the records.
  for _, count in pairs(counts) do
    if count[3] ~= 0 then count[4] = (call('ZSCORE', count[1], count[2]) or 0) + count[3] end
  end
  for _, batch in ipairs(batches) do write_batch(batch, partition) end
  local first = soon.index and call('ZRANGE', soon.index, 0, 0, 'WITHSCORES')[2]
  if first and soon[first] then ring_first(soon.channel, partition, first) end
  for key, value in pairs(values) do
    if value then texts[#texts + 1], texts[#texts + 2] = key, value else gone[#gone + 1] = key end
  end
  for _, count in pairs(counts) do
    if count[4] == 0 then call('ZREM', count[1], count[2])
    elseif count[4] then call('ZADD', count[1], ('%d'):format(count[4]), count[2]) end
  end
  for i = 1, #gone, 4000 do call('UNLINK', unpack(gone, i, math.min(i + 3999, #gone))) end
  for i = 1, #texts, 4000 do call('MSET', unpack(texts, i, math.min(i + 3999, #texts))) end
  for key, stream in pairs(streams) do append(key, stream, args, at) end
  for channel in pairs(rings) do call('PUBLISH', channel, partition) end
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
  return fetch(reply, keys, args[1] + 1, #keys, {})
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
  local at, index, limit, down = now(), keys[1], args[2] + 0, args[4] == 'down'
  local score, member, from = args[5], args[6], 0
  if score ~= '' then
    local there = call('ZSCORE', index, member) == score
    from = there and call('ZRANK', index, member) + 1 or rank_behind(index, score, member)
    if down then from = call('ZCOUNT', index, '-inf', '+inf') - from + (there and 1 or 0) end
  end
  local order = down and { 'REV', 'WITHSCORES' } or { 'WITHSCORES' }
  local found = call('ZRANGE', index, from, from + limit, unpack(order))
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
