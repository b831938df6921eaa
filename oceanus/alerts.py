"""Alerts in Redis: what revelation has decided, told, and could not tell, so that nothing is told twice or forgotten.

The records themselves lie in each site's list `alerts` (see the spool). All else about them is below `oceanus:alerts:`:

- `decided:<match>`: what was decided about a record and a rule, until the record is let go: the same answer if it is
  seen again before
- `count:..`, `fired:..`: the last matches of a counting rule (sorted set); the receive time of the one that was told
- `once:..`, `rate:..`: who was told within the time of `once`; the matches told within a minute (sorted set)
- `held:<rule>`, `closed` (hashes): how many matches are held back since when; those whose minute is over
- `groups:..` (sets): the values of `by` that a rule has counts or marks of its own for
- `seen`, `silent` (hashes): when a rule of silence last saw a match; the silence that was told of
- `dropped`, `dropping` (hashes): how many records dropped by a site's full list were told of; those to be told next
- `told:<key>`, `tried:<key>`, `doing:<key>`: a telling was delivered; may have been, by a try that began then; somebody
  is at it now, under a name of this one try
- `places` (set): those that may have messages in the task queue
- `pause:<place>`: a place has asked for quiet
- `rows:<place>:<sheet>` (hash), `order:..` (sorted set): rows on their way to a sheet; when each telling was made
- `sheets` (set), `flush:..`: the sheets that have such rows; somebody will take them there
- `failed` (hash), `again` (list): tellings that cannot be delivered (dead letters); those to be tried once more
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any, cast

from oceanus.spool import Client, key, list_key, text, translated

PREFIX = "oceanus:alerts:"
TASKS = "oceanus:tasks"  # the task queue's own keys
KEPT_MS = 3 * 86_400_000  # a telling is not delivered twice within
DOING_MS = 40_000  # more than a delivery may take
MINUTE_MS = 60_000
FAILED_CAP = 10_000  # dead letters: some 20 MB
GROUPS_CAP = 10_000  # values of `by` of one rule in one window, for strangers choose them: some 5 MB
OTHERS = "(others)"
FLUSH_MS = 10_000  # less than a task of a dead process waits for the next one
HELD_FLUSH_MS = 330_000  # longer than it waits between two tries

# A batch of matches is decided in one call; each item is what `Match.item` makes. An item that was decided gets the
# same answer again. A sorted set is cut to what decides, so that no burst makes it large.
# Values of `by` beyond the cap share one group, until the window in which there were so many is over.
# KEYS prefix; ARGV items(JSON) kept_ms cap others
# -> for each item: tell <count>, held, quiet, or nothing where it does not count
_DECIDE = """
local clock, prefix = redis.call('TIME'), KEYS[1]
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function whole(n) return string.format('%.0f', n) end
local function group(m, kind, by)
  if by.key == m.rule then return by.key end
  local set = prefix .. 'groups:' .. kind .. ':' .. m.rule
  if redis.call('SISMEMBER', set, by.key) == 1 then return by.key end
  local n = redis.call('SCARD', set)
  if n >= tonumber(ARGV[3]) then return m.rule .. ':' .. ARGV[4] end
  redis.call('SADD', set, by.key)
  if n == 0 then redis.call('PEXPIRE', set, by.ms) end
  return by.key
end
local function counted(m)
  local c, key = m.counting, group(m, 'count', m.counting)
  local set, fired = prefix .. 'count:' .. key, prefix .. 'fired:' .. key
  redis.call('ZADD', set, whole(m.ms), m.id)
  redis.call('ZREMRANGEBYRANK', set, 0, -(c.more_than + 2))
  redis.call('PEXPIRE', set, c.ms + 60000)
  local n = redis.call('ZCOUNT', set, '(' .. whole(m.ms - c.ms), whole(m.ms))
  if n <= c.more_than then return nil end
  local last = tonumber(redis.call('GET', fired))
  if last and m.ms < last + c.ms then return nil end
  redis.call('SET', fired, whole(m.ms), 'PX', 2 * c.ms)
  return n
end
local function held(m)
  local key = prefix .. 'held:' .. m.rule
  redis.call('HSETNX', key, 'since', whole(now))
  redis.call('HINCRBY', key, 'count', 1)
  redis.call('SADD', prefix .. 'holding', m.rule)
  return 'held'
end
local function decided(m)
  local n = 1
  if m.counting then
    n = counted(m)
    if not n then return '' end
  end
  if m.once then
    local mine = redis.call('SET', prefix .. 'once:' .. group(m, 'once', m.once), m.id, 'NX', 'PX', m.once.ms)
    if not mine then return 'quiet' end
  end
  for _, rate in ipairs(m.rates) do
    local set = prefix .. 'rate:' .. rate.key
    redis.call('ZREMRANGEBYSCORE', set, '-inf', whole(now - 60000))
    if redis.call('ZCARD', set) + rate.weight > rate.most then return held(m) end
  end
  for _, rate in ipairs(m.rates) do
    local set = prefix .. 'rate:' .. rate.key
    for i = 1, rate.weight do redis.call('ZADD', set, whole(now), m.match .. '#' .. i) end
    redis.call('PEXPIRE', set, 60000)
  end
  return 'tell ' .. n
end
local answers = {}
for i, m in ipairs(cjson.decode(ARGV[1])) do
  local mark = prefix .. 'decided:' .. m.match
  local answer = redis.call('GET', mark)
  if not answer then
    answer = decided(m)
    if answer ~= '' then redis.call('SET', mark, answer, 'PX', ARGV[2]) end
  end
  answers[i] = answer
end
return answers
"""

# What was held back for a minute is set apart under a name of its own, so that its digest is always the same one.
# KEYS prefix; ARGV minute_ms -> rule since count, of all that are set apart
_CLOSE = """
local clock, prefix = redis.call('TIME'), KEYS[1]
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
for _, rule in ipairs(redis.call('SMEMBERS', prefix .. 'holding')) do
  local key = prefix .. 'held:' .. rule
  local since = tonumber(redis.call('HGET', key, 'since'))
  if not since then redis.call('SREM', prefix .. 'holding', rule)
  elseif since + tonumber(ARGV[1]) <= now then
    local name = string.format('%.0f', since) .. ' ' .. rule
    redis.call('HSET', prefix .. 'closed', name, redis.call('HGET', key, 'count'))
    redis.call('DEL', key)
    redis.call('SREM', prefix .. 'holding', rule)
  end
end
return redis.call('HGETALL', prefix .. 'closed')
"""

# What was dropped since the last word is set apart until that is told, so that its telling is always the same one.
# KEYS count told apart; ARGV site -> before now, or nothing
_DROPPED = """
local open = redis.call('HGET', KEYS[3], ARGV[1])
if open then return open end
local now = tonumber(redis.call('GET', KEYS[1]) or 0)
local before = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or 0)
if now < before then redis.call('HSET', KEYS[2], ARGV[1], now) end
if now <= before then return '' end
open = string.format('%.0f %.0f', before, now)
redis.call('HSET', KEYS[3], ARGV[1], open)
return open
"""

# KEYS told apart; ARGV site before+now now -> 1 where this was the first to say so
_FORGET_DROPPED = """
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
"""

# KEYS list workers; ARGV claims -> length, the oldest of the list and of each claim
_WAITING = """
local answer, lists = {0}, {KEYS[1]}
for _, writer in ipairs(redis.call('SMEMBERS', KEYS[2])) do lists[#lists + 1] = ARGV[1] .. writer end
for _, list in ipairs(lists) do
  answer[1] = answer[1] + redis.call('LLEN', list)
  local oldest = redis.call('LINDEX', list, -1)
  if oldest then answer[#answer + 1] = oldest end
end
return answer
"""

# KEYS told tried doing; ARGV owner doing_ms kept_ms now_us -> TOLD BUSY FIRST AGAIN, and when the first try began
_BEGIN = """
if redis.call('EXISTS', KEYS[1]) == 1 then return {'TOLD', '0'} end
if not redis.call('SET', KEYS[3], ARGV[1], 'NX', 'PX', ARGV[2]) then return {'BUSY', '0'} end
if redis.call('SET', KEYS[2], ARGV[4], 'NX', 'PX', ARGV[3]) then return {'FIRST', ARGV[4]} end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return {'AGAIN', redis.call('GET', KEYS[2])}
"""

# One whose time is over, and whose telling another has begun, leaves the other's marks alone.
# KEYS told tried doing; ARGV owner told unclear kept_ms
_END = """
if ARGV[2] == '1' then redis.call('SET', KEYS[1], 1, 'PX', ARGV[4]) end
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return end
if ARGV[3] == '0' then redis.call('DEL', KEYS[2]) end
redis.call('DEL', KEYS[3])
"""

# KEYS doing; ARGV owner doing_ms -> 1 where it is the owner's yet
_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

# A row waits for its sheet once, and somebody is to take it there.
# KEYS told rows order sheets flush; ARGV key row ms sheet flush_ms -> 1 where the caller has to see to that
_ADD_ROW = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 1 then
  redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1])
  redis.call('SADD', KEYS[4], ARGV[4])
end
return redis.call('SET', KEYS[5], 1, 'NX', 'PX', ARGV[5]) and 1 or 0
"""

# Only those that stand there now are certain; the others' marks of a try last, for a person may send them again.
# KEYS prefix rows order sheets; ARGV sheet told kept_ms key..
_FORGET_ROWS = """
redis.call('HDEL', KEYS[2], unpack(ARGV, 4))
redis.call('ZREM', KEYS[3], unpack(ARGV, 4))
for i = 4, ARGV[2] == '1' and #ARGV or 0 do
  redis.call('SET', KEYS[1] .. 'told:' .. ARGV[i], 1, 'PX', ARGV[3])
  redis.call('DEL', KEYS[1] .. 'tried:' .. ARGV[i])
end
if redis.call('EXISTS', KEYS[3]) == 0 then redis.call('SREM', KEYS[4], ARGV[1]) end
"""

# Where a flush is at work, or is to come, there is nothing to see to.
# KEYS prefix; ARGV flush_ms -> the sheets that the caller has to see to
_UNFLUSHED = """
local found, prefix = {}, KEYS[1]
for _, sheet in ipairs(redis.call('SMEMBERS', prefix .. 'sheets')) do
  if redis.call('EXISTS', prefix .. 'doing:' .. sheet) == 0
      and redis.call('SET', prefix .. 'flush:' .. sheet, 1, 'NX', 'PX', ARGV[1]) then
    found[#found + 1] = sheet
  end
end
return found
"""

# KEYS tried..; ARGV now_us kept_ms
_NOTE_TRIES = """
for _, key in ipairs(KEYS) do
  if not redis.call('SET', key, ARGV[1], 'NX', 'PX', ARGV[2]) then redis.call('PEXPIRE', key, ARGV[2]) end
end
"""

# KEYS failed dropped; ARGV key letter cap
_FAIL = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then
  redis.call('INCR', KEYS[2])
  return 'FULL'
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 'OK'
"""

# KEYS failed again; ARGV key.. -> how many were there
_RETRY = """
local n = 0
for _, key in ipairs(ARGV) do
  local letter = redis.call('HGET', KEYS[1], key)
  if letter then
    redis.call('LPUSH', KEYS[2], letter)
    redis.call('HDEL', KEYS[1], key)
    n = n + 1
  end
end
return n
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A limit of a minute: whose it is, how much there may be, and how much this match would add.

    A rule's own limits count matches, the one over all rules counts messages.
    """

    key: str
    most: int
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A record that a rule is true of, and what decides whether it is told.

    `match` names rule and record. `counting`: key, more_than, window in ms; `once`: key, ms.
    """

    match: str
    rule: str
    eid: str
    received_ms: int
    counting: tuple[str, int, int] | None = None
    once: tuple[str, int] | None = None
    rates: tuple[Rate, ...] = ()

    def item(self) -> dict[str, Any]:
        """Return what the script reads."""
        item: dict[str, Any] = {"match": self.match, "rule": self.rule, "id": self.eid, "ms": self.received_ms}
        item["rates"] = [
            {"key": one.key, "most": max(one.most, one.weight), "weight": one.weight} for one in self.rates
        ]
        if self.counting:
            item["counting"] = dict(zip(("key", "more_than", "ms"), self.counting, strict=True))
        if self.once:
            item["once"] = dict(zip(("key", "ms"), self.once, strict=True))
        return item


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a rule held back, from `since_ms` for a minute."""

    rule: str
    since_ms: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What to do about a telling: TOLD: nothing; BUSY: later; FIRST: deliver it; AGAIN: a try is unclear.

    `since_us`: when the first of these tries began.
    """

    state: str
    since_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter: a telling that was not delivered, why, and when it was given up."""

    telling: Mapping[str, Any]
    reason: str
    at_us: int


class Alerts:
    """What is kept about alerts; raises SpoolError as the spool does."""

    def __init__(self, client: Client) -> None:
        self._client = client

    # --- deciding

    def decide(self, matches: Sequence[Match]) -> list[int | None]:
        """Return for each match how many records it stands for if it is to be told, else None."""
        if not matches:
            return []
        items = json.dumps([one.item() for one in matches])
        answers = cast(list[bytes], self._run(_DECIDE, [PREFIX], [items, KEPT_MS, GROUPS_CAP, OTHERS]))
        return [int(answer[5:]) if answer.startswith(b"tell ") else None for answer in answers]

    def let_go(self, matches: Sequence[Match]) -> None:
        """Forget what was decided about records that nobody will see again: a flood of them must not fill Redis."""
        if matches:
            with translated():
                self._client.unlink(*(f"{PREFIX}decided:{one.match}" for one in matches))

    def close_held(self, minute_ms: int = MINUTE_MS) -> list[Held]:
        """Return what was held back and whose minute is over, until each is forgotten."""
        flat = cast(list[bytes], self._run(_CLOSE, [PREFIX], [minute_ms]))
        pairs = [(name.decode().partition(" "), int(count)) for name, count in zip(flat[::2], flat[1::2], strict=True)]
        return [Held(rule=rule, since_ms=int(since), count=count) for (since, _, rule), count in pairs]

    def forget_held(self, held: Held) -> None:
        """Forget what was told in a digest."""
        with translated():
            self._client.hdel(f"{PREFIX}closed", f"{held.since_ms} {held.rule}")

    def dropped(self, site: str) -> tuple[int, int] | None:
        """Return how many records of a site its full list had dropped when that was last told, and how many since then.

        The same two numbers until they are forgotten; None where there is nothing to tell.
        """
        keys = [key(site, "alerts:dropped"), f"{PREFIX}dropped", f"{PREFIX}dropping"]
        before, _, now = text(cast(bytes, self._run(_DROPPED, keys, [site]))).partition(" ")
        return (int(before), int(now)) if now else None

    def forget_dropped(self, site: str, before: int, now: int) -> bool:
        """Note that these were told of; return whether nobody else has."""
        keys = [f"{PREFIX}dropped", f"{PREFIX}dropping"]
        return bool(self._run(_FORGET_DROPPED, keys, [site, f"{before} {now}", now]))

    def waiting(self, site: str) -> tuple[int, list[bytes]]:
        """Return how many records of a site wait or are looked at just now, and the oldest of each list."""
        keys = [key(site, "alerts"), list_key(site, "alerts", "workers")]
        length, *oldest = cast(list[Any], self._run(_WAITING, keys, [list_key(site, "alerts", "claim:")]))
        return int(length), oldest

    # --- silence

    def saw(self, last_ms: Mapping[str, int]) -> None:
        """Note when rules of silence last saw a match; a late one changes nothing."""
        with translated():
            for rule, ms in last_ms.items():
                before = self._client.hget(f"{PREFIX}seen", rule)
                if before is None or int(before) < ms:
                    self._client.hset(f"{PREFIX}seen", rule, ms)

    def seen(self, rules: Iterable[str], now_ms: int) -> dict[str, int]:
        """Return when each rule last saw a match, or when it was first asked about; forget all other rules.

        So a rule that was taken out and comes back is a new one.
        """
        seen = {}
        with translated():
            for rule in rules:
                self._client.hsetnx(f"{PREFIX}seen", rule, now_ms)
                seen[rule] = int(self._client.hget(f"{PREFIX}seen", rule) or now_ms)
            gone = [name for name in self._client.hkeys(f"{PREFIX}seen") if text(name) not in seen]
            if gone:
                self._client.hdel(f"{PREFIX}seen", *gone)
                self._client.hdel(f"{PREFIX}silent", *gone)
        return seen

    def told_silence(self, rule: str, last_ms: int | None = None) -> int:
        """Return since when the silence lasts of which a rule has told; set it to `last_ms`, if one is given."""
        with translated():
            if last_ms is not None:
                self._client.hset(f"{PREFIX}silent", rule, last_ms)
            return int(self._client.hget(f"{PREFIX}silent", rule) or 0)

    # --- delivering

    def begin(self, telling: str, owner: str, now_us: int) -> Begun:
        """Say what to do about a telling; `owner` is a name of this one try."""
        answer = self._run(_BEGIN, _marks(telling), [owner, DOING_MS, KEPT_MS, now_us])
        state, since_us = cast(list[bytes], answer)
        return Begun(state=state.decode(), since_us=int(since_us))

    def renew(self, telling: str, owner: str) -> bool:
        """Keep what was begun to its owner for as long again; return False where it is not the owner's any more."""
        return bool(self._run(_RENEW, [f"{PREFIX}doing:{telling}"], [owner, DOING_MS]))

    def end(self, telling: str, owner: str, *, told: bool = False, unclear: bool = False) -> None:
        """Note how a try ended; after a clear failure the next one is a first one again."""
        self._run(_END, _marks(telling), [owner, int(told), int(unclear), KEPT_MS])

    def note_place(self, place: str) -> None:
        """Note that a place may have messages."""
        with translated():
            self._client.sadd(f"{PREFIX}places", place)

    def messages(self) -> dict[str, int]:
        """Return how many messages each place has in the task queue, those that are tried again among them."""
        with translated():
            places = sorted(text(name) for name in self._client.smembers(f"{PREFIX}places"))
            asked = self._client.pipeline(transaction=False)
            for place in places:
                asked.hlen(f"{TASKS}:{place}.msgs")
                asked.hlen(f"{TASKS}:{place}.DQ.msgs")
            counts = [int(count) for count in asked.execute()]
        return {place: sum(pair) for place, pair in zip(places, batched(counts, 2, strict=True), strict=True)}

    def pause(self, place: str, seconds: float) -> None:
        """Leave a place alone for a while, as it has asked."""
        with translated():
            self._client.set(f"{PREFIX}pause:{place}", 1, px=max(1, int(seconds * 1000)))

    def paused_ms(self, place: str) -> int:
        """Return for how long yet."""
        with translated():
            return max(0, int(self._client.pttl(f"{PREFIX}pause:{place}")))

    # --- rows of sheets

    def add_row(self, place: str, sheet: str, telling: str, row: str, made_ms: int) -> bool:
        """Let a row wait for its sheet; return whether the caller has to have it taken there."""
        keys = [f"{PREFIX}told:{telling}", *_rows(place, sheet), f"{PREFIX}flush:{place}:{sheet}"]
        return bool(self._run(_ADD_ROW, keys, [telling, row, made_ms, f"{place}:{sheet}", FLUSH_MS]))

    def rows(self, place: str, sheet: str, most: int) -> dict[str, str]:
        """Return the oldest rows that wait for a sheet, by their telling; what comes from now on is another's to take.

        Not all: a sheet that is away for a day may have 100,000.
        """
        rows, order, _ = _rows(place, sheet)
        with translated():
            self._client.delete(f"{PREFIX}flush:{place}:{sheet}")
            names = cast(list[bytes], self._client.zrange(order, 0, most - 1))
            found = self._client.hmget(rows, names) if names else []
        return {text(name): text(row) for name, row in zip(names, found, strict=True) if row is not None}

    def hold_flush(self, place: str, sheet: str) -> None:
        """Say that somebody will take the rows of a sheet there, after trouble, so that no other has to."""
        with translated():
            self._client.set(f"{PREFIX}flush:{place}:{sheet}", 1, px=HELD_FLUSH_MS)

    def unflushed(self) -> list[tuple[str, str]]:
        """Return each place and sheet that has rows and nobody to take them there: the caller has to see to that."""
        found = cast(list[bytes], self._run(_UNFLUSHED, [PREFIX], [HELD_FLUSH_MS]))
        pairs = [text(name).partition(":") for name in sorted(found)]
        return [(place, sheet) for place, _, sheet in pairs]

    def forget_rows(self, place: str, sheet: str, tellings: Sequence[str], *, told: bool) -> None:
        """Take rows away that stand in the sheet now, or never will."""
        if tellings:
            keys = [PREFIX, *_rows(place, sheet)]
            self._run(_FORGET_ROWS, keys, [f"{place}:{sheet}", int(told), KEPT_MS, *tellings])

    def tried(self, tellings: Sequence[str]) -> set[str]:
        """Return those that may have been delivered by a try that is unclear."""
        with translated():
            found = self._client.mget([f"{PREFIX}tried:{one}" for one in tellings]) if tellings else []
        return {one for one, since in zip(tellings, found, strict=True) if since is not None}

    def note_tries(self, tellings: Sequence[str], now_us: int) -> None:
        """Note before a try that these may have been delivered, until they are forgotten."""
        self._run(_NOTE_TRIES, [f"{PREFIX}tried:{one}" for one in tellings], [now_us, KEPT_MS])

    def forget_tries(self, tellings: Sequence[str]) -> None:
        """Note after a clear failure that these were not delivered."""
        with translated():
            if tellings:
                self._client.delete(*(f"{PREFIX}tried:{one}" for one in tellings))

    # --- dead letters

    def fail(self, telling: Mapping[str, Any], reason: str, at_us: int) -> bool:
        """Set a telling aside for a person; return False where so many lie there that it is only counted."""
        letter = json.dumps({"telling": dict(telling), "reason": reason, "at_us": at_us})
        keys = [f"{PREFIX}failed", f"{PREFIX}failed:dropped"]
        return self._run(_FAIL, keys, [telling["key"], letter, FAILED_CAP]) == b"OK"

    def failed(self) -> list[Letter]:
        """Return all dead letters, the oldest first."""
        with translated():
            found = [json.loads(letter) for letter in self._client.hvals(f"{PREFIX}failed")]
        return sorted((Letter(**one) for one in found), key=lambda letter: letter.at_us)

    def retry(self, tellings: Sequence[str]) -> int:
        """Let dead letters be tried once more; return how many were there."""
        return int(cast(int, self._run(_RETRY, [f"{PREFIX}failed", f"{PREFIX}again"], tellings))) if tellings else 0

    def drop(self, tellings: Sequence[str]) -> int:
        """Forget dead letters; return how many were there."""
        with translated():
            return int(self._client.hdel(f"{PREFIX}failed", *tellings)) if tellings else 0

    def count_failed(self) -> int:
        """Return how many dead letters there are."""
        with translated():
            return int(self._client.hlen(f"{PREFIX}failed"))

    def again(self) -> list[tuple[bytes, Mapping[str, Any]]]:
        """Return the dead letters that are to be tried once more, until each is forgotten."""
        with translated():
            found = self._client.lrange(f"{PREFIX}again", 0, 999)
        return [(cast(bytes, raw), json.loads(raw)["telling"]) for raw in found]

    def forget_again(self, raw: bytes) -> None:
        """Forget one that is on its way."""
        with translated():
            self._client.lrem(f"{PREFIX}again", 1, text(raw))

    def _run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> object:
        with translated():
            answer: object = self._client.eval(script, len(keys), *keys, *arguments)
        return answer


def _marks(telling: str) -> list[str]:
    return [f"{PREFIX}{name}:{telling}" for name in ("told", "tried", "doing")]


def _rows(place: str, sheet: str) -> list[str]:
    return [f"{PREFIX}rows:{place}:{sheet}", f"{PREFIX}order:{place}:{sheet}", f"{PREFIX}sheets"]
