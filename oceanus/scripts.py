"""The Lua scripts that change what is in Redis: each safe to repeat, and safe when it runs late.

They follow the delivery protocol that was tried on a model with lost, late and repeated commands. Three rules hold
everywhere: a drain's script looks at the owner and the token before it changes anything; it begins with a DEL of a key
that is never there, which Redis never refuses, so that the rest runs at the memory ceiling too; and nothing that can
fail stands between the change and its mark, because Lua does not roll back.
Source of the second rule: redis.io/docs/latest/develop/programmability (a script is refused at its first write only).
"""

# KEYS none: see above. A push has no such line: at the ceiling it is refused, as it should be.
_ALLOW = "redis.call('DEL', KEYS[1])\n"

# ledger(key, ARGV, first): lines of minute (YYYYMMDDHHMM), kind, count, digest, from ARGV[first] to the end.
# pcall, because a foreign value in the ledger must not undo what was moved.
_LEDGER = """
local function count(key, field, n, digest)
  redis.pcall('HINCRBY', key, field, n)
  redis.pcall('HINCRBY', key, field .. 'd', digest)
end
local function ledger(key, first)
  for i = first, #ARGV, 4 do
    local minute, kind = ARGV[i], ARGV[i + 1]
    local hour = key .. ':' .. string.sub(minute, 1, 10)
    count(hour, string.sub(minute, 11, 12) .. kind, ARGV[i + 2], ARGV[i + 3])
    redis.pcall('EXPIRE', hour, 691200)
    count(key, string.sub(minute, 1, 8) .. kind, ARGV[i + 2], ARGV[i + 3])
  end
end
"""

# cut(list, cap): the list of alerts takes no more than its cap; what it drops, the oldest, is counted.
_CUT = """
local function cut(key, cap)
  local over = cap > 0 and redis.call('LLEN', key) - cap or 0
  if over > 0 then
    redis.call('LTRIM', key, 0, cap - 1)
    redis.pcall('INCRBY', key .. ':dropped', over)
  end
end
"""

# Every push names its site and opens the ledger's epoch, so that a Redis that was emptied under arms is known again.
# A gap below the first number of this flight is an alarm that stays until a person acknowledges it; one within the
# flight is but the refusal of the push before it. The epoch is Redis' own time: what a journal brings is older.
# A user who may not count what it pushes pushes nothing: Lua takes back no command that has run.
# KEYS list pushed ledger alerts live sites epoch alarms
# ARGV seq alerts_cap publish minute kind count digest last_ms site first records..
PUSH = (
    _CUT
    + """
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
local seq = tonumber(ARGV[1])
if seq <= last then return 'DUP' end
if seq > last + 1 then
  if last + 1 < tonumber(ARGV[10]) then redis.pcall('HSETNX', KEYS[8], 'gap:' .. ARGV[9], ARGV[8]) end
  return 'GAP'
end
for _, key in ipairs({KEYS[1], KEYS[4]}) do
  local t = redis.call('TYPE', key).ok
  if t ~= 'list' and t ~= 'none' then return redis.error_reply('FOREIGN ' .. key .. ' is no list') end
end
if not (redis.acl_check_cmd('SET', KEYS[2], seq) and redis.acl_check_cmd('HINCRBY', KEYS[3], 'a', 1)) then
  return redis.error_reply('NOPERM this user may not push')
end
local cap = tonumber(ARGV[2])
for i = 11, #ARGV, 1000 do
  redis.call('LPUSH', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
  if cap > 0 then redis.call('LPUSH', KEYS[4], unpack(ARGV, i, math.min(i + 999, #ARGV))) end
end
cut(KEYS[4], cap)
redis.call('SET', KEYS[2], seq, 'EX', 2592000)
local hour = KEYS[3] .. ':' .. string.sub(ARGV[4], 1, 10)
for key, field in pairs({[hour] = string.sub(ARGV[4], 11, 12), [KEYS[3]] = string.sub(ARGV[4], 1, 8)}) do
  redis.pcall('HINCRBY', key, field .. ARGV[5], ARGV[6])
  redis.pcall('HINCRBY', key, field .. ARGV[5] .. 'd', ARGV[7])
end
redis.pcall('EXPIRE', hour, 691200)
redis.pcall('HSET', KEYS[3], 'last', ARGV[8])
redis.pcall('SADD', KEYS[6], ARGV[9])
local now = redis.call('TIME')
redis.pcall('SET', KEYS[7], string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)), 'NX')
if ARGV[3] == '1' then
  for i = 11, #ARGV do redis.pcall('PUBLISH', KEYS[5], ARGV[i]) end
end
return 'OK'
"""
)

# One that comes late, after the writer was adopted, takes nothing back.
# KEYS none writer workers lease; ARGV writer lease_ms
REGISTER = (
    _ALLOW
    + """
redis.call('HSETNX', KEYS[2], 'owner', ARGV[1])
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('SET', KEYS[4], 1, 'PX', ARGV[2])
return 'OK'
"""
)

# KEYS none writer lease claim; ARGV actor lease_ms -> HOLDS where the claim has rows: a late CLAIM may have filled it
BEAT = (
    _ALLOW
    + """
if redis.call('HGET', KEYS[2], 'owner') ~= ARGV[1] then return 'GONE' end
redis.call('SET', KEYS[3], 1, 'PX', ARGV[2])
return redis.call('EXISTS', KEYS[4]) == 1 and 'HOLDS' or 'OK'
"""
)

# Into an empty claim many rows go at once: SORT makes a list of a part of another without a step of Lua for each row,
# five times as fast as LMOVE, and the append-only file holds one line of it. Samples of all that may come say how many
# rows the bytes may be, the list that was made whether they are. Behind rows that are there, few go one by one; so they
# do where this user may not do the other (nothing that can fail stands between its two halves), or where writers died
# with rows of this list, so that the look for their tries stays short.
# `alone`: only one registered writer at a time claims from this list; the others are told TURN. `whole`: what is there
# is asked for, and nothing added to it.
# KEYS none list claim writer tries turn; ARGV writer rows bytes whole(0/1) alone(0/1) prefix_of_writers chunk
# -> token table stream offset moved length tries waiting; the rows are read behind it
CLAIM = (
    _ALLOW
    + """
if redis.call('HGET', KEYS[4], 'owner') ~= ARGV[1] then return 'GONE' end
if ARGV[5] == '1' then
  local turn = redis.call('GET', KEYS[6])
  if turn and turn ~= ARGV[1] and redis.call('EXISTS', ARGV[6] .. turn) == 1 then return 'TURN' end
  redis.call('SET', KEYS[6], ARGV[1])
end
local list, claim, bytes, chunk = KEYS[2], KEYS[3], tonumber(ARGV[3]), tonumber(ARGV[7])
local waiting = redis.call('LLEN', list)
local rows, moved = math.min(tonumber(ARGV[2]), waiting), 0
local suspected = redis.pcall('EXISTS', KEYS[5]) == 1
local function one_by_one()
  local size, held = 0, redis.call('EXISTS', claim)
  while moved < math.min(rows, chunk) and size < bytes do
    size = size + #redis.call('LMOVE', list, claim, 'RIGHT', 'LEFT')
    moved = moved + 1
  end
  if size > bytes and moved + held > 1 then
    redis.call('LMOVE', claim, list, 'LEFT', 'RIGHT')
    moved = moved - 1
  end
end
local function at_once()
  local size = 0
  for i = 0, 19 do size = size + #redis.call('LINDEX', list, -1 - math.floor(i * rows / 20)) end
  moved = math.max(1, math.min(rows, math.floor(bytes * 20 / size)))
  while true do
    redis.call('SORT', list, 'BY', 'nosort', 'LIMIT', waiting - moved, moved, 'STORE', claim)
    size = redis.call('MEMORY', 'USAGE', claim, 'SAMPLES', 0)
    if size <= bytes or moved == 1 then break end
    moved = math.max(1, math.floor(moved * bytes / size))
  end
  redis.call('LTRIM', list, 0, -1 - moved)
end
local function may_at_once()
  local sorts = redis.acl_check_cmd('SORT', list, 'BY', 'nosort', 'LIMIT', 0, 1, 'STORE', claim)
  local weighs = redis.acl_check_cmd('MEMORY', 'USAGE', claim, 'SAMPLES', 0)
  return sorts and weighs and redis.acl_check_cmd('LTRIM', list, 0, -2)
end
local is_empty = redis.call('EXISTS', claim) == 0
if redis.call('HEXISTS', KEYS[4], 'n') == 0 and (is_empty or ARGV[4] == '0') then
  local many = is_empty and ARGV[4] == '1' and rows > chunk and bytes > 0 and not suspected
  if many and may_at_once() then at_once() else one_by_one() end
  if moved > 0 then redis.call('HSET', KEYS[4], 'token', redis.call('HINCRBY', KEYS[4], 'batch', 1)) end
end
local m, tries = redis.call('HMGET', KEYS[4], 'token', 'table', 'stream', 'offset'), 0
if suspected then
  for _, one in ipairs(redis.call('LRANGE', claim, 0, ARGV[4] == '1' and -1 or moved - 1)) do
    tries = math.max(tries, tonumber(redis.pcall('HGET', KEYS[5], redis.sha1hex(one))) or 0)
  end
end
local length = redis.call('LLEN', claim)
return {m[1] or '', m[2] or '', m[3] or '', m[4] or '', moved, length, tries, waiting - moved}
"""
)

# KEYS none claim writer; ARGV actor token table new_stream -> stream offset
ASSIGN = (
    _ALLOW
    + """
if redis.call('HGET', KEYS[3], 'owner') ~= ARGV[1] then return 'GONE' end
if redis.call('HGET', KEYS[3], 'token') ~= ARGV[2] then return 'RELOAD' end
local m = redis.call('HMGET', KEYS[3], 'stream', 'offset', 'table')
if m[1] then
  if m[3] == ARGV[3] then return {m[1], m[2]} end
  return 'RELOAD'
end
local stream = redis.call('HGET', KEYS[3], 'stream:' .. ARGV[3])
if not stream then
  if ARGV[4] == '' then return 'STREAM' end
  stream = ARGV[4]
  redis.call('HSET', KEYS[3], 'stream:' .. ARGV[3], stream, 'next:' .. ARGV[3], 0)
end
local offset = redis.call('HGET', KEYS[3], 'next:' .. ARGV[3])
redis.call('HSET', KEYS[3], 'table', ARGV[3], 'stream', stream, 'offset', offset, 'n', redis.call('LLEN', KEYS[2]))
return {stream, offset}
"""
)

# KEYS none claim writer ledger; ARGV actor token, ledger lines..
SETTLE = (
    _ALLOW
    + _LEDGER
    + """
if redis.call('HGET', KEYS[3], 'owner') ~= ARGV[1] then return 'GONE' end
if redis.call('HGET', KEYS[3], 'done') == ARGV[2] then return 'OK' end
if redis.call('HGET', KEYS[3], 'token') ~= ARGV[2] then return 'RELOAD' end
local n, t = redis.call('LLEN', KEYS[2]), redis.call('HGET', KEYS[3], 'table')
if n ~= tonumber(redis.call('HGET', KEYS[3], 'n')) then return redis.error_reply('BROKEN claim') end
redis.call('UNLINK', KEYS[2])
redis.call('HSET', KEYS[3], 'done', ARGV[2])
redis.call('HINCRBY', KEYS[3], 'next:' .. t, n)
redis.call('HDEL', KEYS[3], 'token', 'table', 'stream', 'offset', 'n')
ledger(KEYS[4], 3)
return 'OK'
"""
)

# Rows of a claim by a flag each: k keep, b back to the list's old end, t the same after their writer died with them
# (a try is counted), w to the new end of the list of those whose table is in trouble, f to failed, l landed already,
# r repeated (these two leave it). The oldest rows, where all are kept, are not touched.
# KEYS none list claim writer failed ledger later tries
# ARGV actor token drop_stream(0/1) flags n_failed, failed.., ledger lines..
SORT = (
    _ALLOW
    + _LEDGER
    + """
if redis.call('HGET', KEYS[4], 'owner') ~= ARGV[1] then return 'GONE' end
if redis.call('HGET', KEYS[4], 'token') ~= ARGV[2] then return 'RELOAD' end
local flags, failed = ARGV[4], tonumber(ARGV[5])
if redis.call('LLEN', KEYS[3]) ~= #flags then return 'RELOAD' end
for _, key in ipairs({KEYS[2], KEYS[5], KEYS[7]}) do
  local t = redis.call('TYPE', key).ok
  if t ~= 'list' and t ~= 'none' then return redis.error_reply('FOREIGN ' .. key .. ' is no list') end
end
local last = #flags
if redis.acl_check_cmd('LTRIM', KEYS[3], 0, -1) then
  while string.sub(flags, last, last) == 'k' do last = last - 1 end
end
local rows = string.find(string.sub(flags, 1, last), '[kbtw]') and redis.call('LRANGE', KEYS[3], 0, last - 1) or {}
local keep, back, later = {}, {}, {}
for i = #rows, 1, -1 do
  local flag = string.sub(flags, i, i)
  if flag == 'k' then table.insert(keep, rows[i]) elseif flag == 'w' then table.insert(later, rows[i]) end
end
for i = 1, #rows do
  local flag = string.sub(flags, i, i)
  if flag == 'b' or flag == 't' then table.insert(back, rows[i]) end
  if flag == 't' then redis.pcall('HINCRBY', KEYS[8], redis.sha1hex(rows[i]), 1) end
end
local function push(command, key, some)
  for i = 1, #some, 1000 do redis.call(command, key, unpack(some, i, math.min(i + 999, #some))) end
end
if last < #flags then redis.call('LTRIM', KEYS[3], last, -1) else redis.call('UNLINK', KEYS[3]) end
push('LPUSH', KEYS[3], keep)
push('RPUSH', KEYS[2], back)
push('LPUSH', KEYS[7], later)
if string.find(flags, 't') then redis.pcall('EXPIRE', KEYS[8], 3600) end
for i = 6, 5 + failed do redis.call('LPUSH', KEYS[5], ARGV[i]) end
local kept = redis.call('LLEN', KEYS[3])
ledger(KEYS[6], 6 + failed)
local t = redis.call('HGET', KEYS[4], 'table')
if ARGV[3] == '1' and t then redis.call('HDEL', KEYS[4], 'stream:' .. t, 'next:' .. t) end
if kept == 0 or ARGV[3] == '1' then
  redis.call('HDEL', KEYS[4], 'table', 'stream', 'offset', 'n')
  if kept == 0 then redis.call('HDEL', KEYS[4], 'token') end
elseif redis.call('HEXISTS', KEYS[4], 'n') == 1 then
  redis.call('HSET', KEYS[4], 'n', kept)
end
if kept > 0 then redis.call('HSET', KEYS[4], 'token', redis.call('HINCRBY', KEYS[4], 'batch', 1)) end
return 'OK'
"""
)

# KEYS none claim writer lease; ARGV by lease_ms -> token table stream offset length; the rows are read behind it
ADOPT = (
    _ALLOW
    + """
if redis.call('EXISTS', KEYS[4]) == 1 then return 'BUSY' end
if redis.call('EXISTS', KEYS[3]) == 0 then return 'NONE' end
redis.call('HSET', KEYS[3], 'owner', ARGV[1])
redis.call('SET', KEYS[4], 1, 'PX', ARGV[2])
local m = redis.call('HMGET', KEYS[3], 'token', 'table', 'stream', 'offset')
return {m[1] or '', m[2] or '', m[3] or '', m[4] or '', redis.call('LLEN', KEYS[2])}
"""
)

# KEYS none claim writer lease workers; ARGV by writer
FORGET = (
    _ALLOW
    + """
if redis.call('EXISTS', KEYS[3]) == 1 and redis.call('HGET', KEYS[3], 'owner') ~= ARGV[1] then return 'NO' end
if redis.call('EXISTS', KEYS[2]) == 1 then return 'NO' end
redis.call('DEL', KEYS[3], KEYS[4])
redis.call('SREM', KEYS[5], ARGV[2])
return 'OK'
"""
)

# Everything of a site that is in flight, by its lists and by its ledger, at one moment. Changes nothing.
# KEYS ledger, then a list and its workers for each; ARGV for each list what stands before a writer's claim
# -> records in lists and claims, the ledger (nil if that is no hash)
WEIGH = """
local n = 0
for i = 2, #KEYS, 2 do
  n = n + redis.call('LLEN', KEYS[i])
  for _, writer in ipairs(redis.call('SMEMBERS', KEYS[i + 1])) do
    n = n + redis.call('LLEN', ARGV[i / 2] .. writer)
  end
end
local t = redis.call('TYPE', KEYS[1]).ok
if t ~= 'hash' and t ~= 'none' then return {n} end
return {n, redis.call('HGETALL', KEYS[1])}
"""

# Alarms that a person has seen: those that are still as they were shown.
# KEYS alarms; ARGV name value..
ACKNOWLEDGE = """
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return 'OK'
"""

# A failed record is sent again: marked and in its list, or neither. It adds, so at the ceiling it is refused like a
# push, before anything is changed. An id is refused for good once its mark may be forgotten (keep_ms, by Redis' own
# clock); each call forgets those among a few marks, so that the hash ends with the failed table's rows. Its member
# `since` is when the first mark was made; LOST: not what the caller knows, so that marks it relies on may be gone.
# KEYS list retried ledger alerts live sites epoch
# ARGV fid keep_ms since alerts_cap publish site record, ledger lines..
RETRY = (
    _LEDGER
    + _CUT
    + """
local function received_ms(fid)
  return #fid == 36 and tonumber(string.sub(fid, 1, 8) .. string.sub(fid, 10, 13), 16)
end
local clock, cap = redis.call('TIME'), tonumber(ARGV[4])
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)
local oldest_ms = now_ms - tonumber(ARGV[2])
for key, kind in pairs({[KEYS[1]] = 'list', [KEYS[2]] = 'hash', [KEYS[4]] = 'list'}) do
  local t = redis.call('TYPE', key).ok
  if t ~= kind and t ~= 'none' then return redis.error_reply('FOREIGN ' .. key .. ' is no ' .. kind) end
end
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return 'DUP' end
if received_ms(ARGV[1]) < oldest_ms then return 'OLD' end
if ARGV[3] ~= '' and redis.call('HGET', KEYS[2], 'since') ~= ARGV[3] then return 'LOST' end
redis.call('HSET', KEYS[2], ARGV[1], now_ms)
redis.call('HSETNX', KEYS[2], 'since', now_ms)
redis.call('LPUSH', KEYS[1], ARGV[7])
if cap > 0 then
  redis.call('LPUSH', KEYS[4], ARGV[7])
  cut(KEYS[4], cap)
end
ledger(KEYS[3], 8)
redis.pcall('SADD', KEYS[6], ARGV[6])
redis.pcall('SET', KEYS[7], now_ms, 'NX')
for _, fid in ipairs(redis.pcall('HRANDFIELD', KEYS[2], 20)) do
  if (received_ms(fid) or now_ms) < oldest_ms then redis.pcall('HDEL', KEYS[2], fid) end
end
if ARGV[5] == '1' then redis.pcall('PUBLISH', KEYS[5], ARGV[7]) end
return 'OK'
"""
)
