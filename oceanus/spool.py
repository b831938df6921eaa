"""The spool: everything in Redis. All keys are spelled here, and every change is one of the scripts beside it.

arms pushes (asynchronously, all waiting beacons in one trip); r2bq claims, sorts, assigns, settles and adopts; anyone
may look. A call that got no answer raises SpoolUnclearError and its connection is closed: a late answer is never given
to the next caller, and redis-py's own retries are off, because they would send a command twice unseen.
"""

import asyncio
import re
import secrets
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import hiredis
import redis
import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry as SyncRetry

from oceanus import scripts
from oceanus.errors import (
    ClaimChangedError,
    NotOurTurnError,
    SpoolDeniedError,
    SpoolError,
    SpoolForgotError,
    SpoolRefusedError,
    SpoolUnclearError,
    SpoolUnsafeError,
    WriterGoneError,
)
from oceanus.ledger import (
    ACCEPTED,
    FAILED,
    KINDS,
    REJECTED,
    SETTLED,
    Count,
    Ledger,
    Totals,
    added,
    day_of,
    is_day,
    totals,
)
from oceanus.pushes import Numbered, Push, Retry
from oceanus.settings import RedisSettings

Client = redis.Redis
LEASE_MS = 3000
LIVE_SECONDS = 1.0
# Rows that one script moves: into an empty claim at once, behind others one by one; a few milliseconds either way.
FIRST_ROWS = 6000
CHUNK_ROWS = 500
ALERTS_CAP = 100_000
RETRIED_DAYS = 100  # a mark outlives its row in the failed table (FAILED_EXPIRY_DAYS, and the day that is begun)
LEDGER_DAYS = 9  # minutes are kept for 8 days after they were last touched
COUNTED = ("queue", "later", "resends")  # the lists of accepted records: what is in flight lies here or in a claim
LISTS = (*COUNTED, "failed")  # what r2bq drains
SEEK_ROWS = 10_000  # records: what Redis reads in a few milliseconds
_EVENT = re.compile(rb'"eid":"([0-9a-f-]{36})"')
ALONE = ("resends",)  # lists that one writer at a time claims from
NAME_SECONDS = 14 * 86_400  # Redis remembers a producer's last number for 30 days
SITES = "oceanus:sites"
EPOCH = "oceanus:ledger:epoch"
ALARMS = "oceanus:alarms"
NEEDED = {
    "appendonly": "yes",
    "appendfsync": "always",
    "maxmemory-policy": "noeviction",
    "no-appendfsync-on-rewrite": "no",
}


def key(site: str, name: str) -> str:
    """Return the key `name` of a site; the braces keep all keys of a site in one slot."""
    return f"oceanus:{{{site}}}:{name}"


def list_key(site: str, source: str, name: str) -> str:
    """Return a key that exists once per drained list: the queue's plain, the others' below their list's name."""
    return key(site, name if source == "queue" else f"{source}:{name}")


def new_id(host: str, pid: int) -> str:
    """Return a new name for a writer or producer: one per start, never used again."""
    return f"{host}-{pid}-{secrets.token_hex(6)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a writer holds: rows newest first, and once assigned their table, stream and offset.

    `moved`: how many came into it by this call; `tries`: how many writers have died with one of the rows; `waiting`:
    how many records are left in the list.
    """

    token: str
    table: str
    stream: str
    offset: int
    rows: list[bytes] = field(default_factory=list)
    moved: int = 0
    length: int = 0
    tries: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Holder:
    """A writer's claim on a list of a site, and who acts on it: the writer itself, or the one that adopted it."""

    site: str
    source: str
    writer: str
    actor: str

    def key(self, name: str) -> str:
        """Return one of this writer's own keys: `claim`, `writer` or `lease`."""
        return list_key(self.site, self.source, f"{name}:{self.writer}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits in one list: records, and the oldest as text."""

    length: int
    oldest: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What Redis has in use, and its ceiling; 0: it has none."""

    used_bytes: int
    most_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A site as `oceanus status` shows it, straight from Redis: `queue` all counted lists, `claimed` their claims.

    `waiting_failed` counts that list's claims too.
    """

    queue: int
    claimed: int
    waiting_failed: int
    oldest: list[bytes]
    ledger: dict[str, int]


# ---------------------------------------------------------------------------------------------------------------- push


class PushClient(redis.asyncio.Redis):
    """redis-py's client with a shorter way for scripts: its pipeline and pool take seven times as long."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._idle: list[AbstractConnection] = []

    async def evals(self, calls: Sequence[Sequence[Any]]) -> list[object]:
        """Run scripts (text, number of keys, keys, arguments) in one trip; return an answer for each, or Redis' error.

        Raises RedisError and TimeoutError where there is no answer; nothing is sent twice.
        """
        packed = [hiredis.pack_command(("EVAL", *call)) for call in calls]
        connection = self._idle.pop() if self._idle else self.connection_pool.make_connection()
        try:
            if not connection.is_connected or await connection.can_read():  # what can be read there is its end
                await self.connection_pool.ensure_connection(connection)
            await connection.send_packed_command(packed, check_health=False)
            return [await _answer(connection) for _ in packed]
        except BaseException:  # cancelled too: an answer that comes late must not be taken for the next one's
            await connection.disconnect(nowait=True)
            raise
        finally:
            self._idle.append(connection)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close all connections."""
        for connection in self._idle:
            await connection.disconnect()
        await super().aclose(close_connection_pool)


class Pusher:
    """The writing end, for arms: one flight at a time, numbered, so that a repeat is recognised.

    The producer's name is new at each start, and must be renewed after anything that was not plainly stored, so that a
    late command of the old one can never meet a number of the new one.
    """

    def __init__(self, client: PushClient, host: str, pid: int) -> None:
        self._client = client
        self._host, self._pid = host, pid
        self._asked: dict[str, asyncio.Future[object]] = {}
        self.renew()

    def renew(self) -> None:
        """Go on under a new name, its numbers beginning with 1."""
        self._producer = new_id(self._host, self._pid)
        self._seq: dict[str, int] = {}
        self._named = time.monotonic()

    def number(self, pushes: Sequence[Push]) -> list[Numbered]:
        """Return the pushes with their numbers; each site has a sequence of its own."""
        if time.monotonic() - self._named > NAME_SECONDS:  # or a rare site's next push would look like a gap
            self.renew()
        return [Numbered(one, self._producer, self._next(one.site)) for one in pushes]

    async def push(self, pushes: Sequence[Push], seconds: float) -> list[SpoolRefusedError | None]:
        """Number, send, and renew where something was not plainly stored; see `send`."""
        try:
            answers = await self.send(self.number(pushes), seconds)
        except BaseException:  # cancelled too: whatever was sent may still run, under the old name
            self.renew()
            raise
        if any(answers):
            self.renew()
        return answers

    async def send(self, numbered: Sequence[Numbered], seconds: float) -> list[SpoolRefusedError | None]:
        """Store every push or say why not; None at a push's place means that it is on Redis' disk.

        A flight without an answer is repeated under its numbers until `seconds` are over; then SpoolUnclearError:
        its records may be stored or not. To send a push again under its number, however late, is always safe.
        """
        answers = await self._fly(numbered, time.monotonic() + seconds)
        refused: list[SpoolRefusedError | None] = []
        first: dict[tuple[str, str], SpoolRefusedError] = {}
        for one, answer in zip(numbered, answers, strict=True):
            refusal = _refusal(one.push, answer)
            if refusal:  # those behind it, which then seem to be beyond a gap, are refused for its reason
                refusal = first.setdefault((one.producer, one.push.site), refusal)
            refused.append(refusal)
        return refused

    async def ping(self) -> None:
        """Raise SpoolError unless Redis answers and keeps what it acknowledges; all who ask at once share an answer."""
        await self._shared("ping", self._client.ping)

    async def lengths(self, sites: Sequence[str]) -> list[int]:
        """Return the length of each site's queue; all who ask at once share one answer."""

        async def ask() -> list[int]:
            pipe = self._client.pipeline(transaction=False)
            for site in sites:
                pipe.llen(key(site, "queue"))
            return [int(length) for length in await pipe.execute()]

        return cast(list[int], await self._shared("lengths", ask))

    async def accepted(self, sites: Sequence[str], day: str) -> list[int]:
        """Return what the ledger has counted as accepted on a day (YYYYMMDD), for each of these sites."""

        async def ask() -> list[int]:
            pipe = self._client.pipeline(transaction=False)
            for site in sites:
                pipe.hget(key(site, "ledger"), f"{day}{ACCEPTED}")
            return [int(count or 0) for count in await pipe.execute()]

        return cast(list[int], await self._shared("accepted", ask))

    async def last_ms(self, sites: Sequence[str]) -> list[int | None]:
        """Return when each site's last beacon was received, in milliseconds since 1970; None where none was."""

        async def ask() -> list[int | None]:
            pipe = self._client.pipeline(transaction=False)
            for site in sites:
                pipe.hget(key(site, "ledger"), "last")
            found = await pipe.execute(raise_on_error=False)
            return [int(last) if isinstance(last, bytes) and _is_number(last) else None for last in found]

        return cast(list[int | None], await self._shared("last", ask))

    async def _shared(self, name: str, ask: Callable[[], Awaitable[object]]) -> object:
        """Ask once for all who wait, so that many probes take one connection and no beacon waits for them."""
        asked = self._asked.get(name)
        if asked is None or asked.done():
            asked = self._asked[name] = asyncio.ensure_future(ask())
        try:
            return await asyncio.shield(asked)
        except (redis.RedisError, TimeoutError) as exc:
            raise _translate(exc) from exc

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _next(self, site: str) -> int:
        self._seq[site] = self._seq.get(site, 0) + 1
        return self._seq[site]

    async def _fly(self, numbered: Sequence[Numbered], deadline: float) -> list[object]:
        first: dict[tuple[str, str], int] = {}
        for one in numbered:
            place = (one.producer, one.push.site)
            first[place] = min(one.seq, first.get(place, one.seq))
        calls = [(scripts.PUSH, 8, *_arguments(one, first[one.producer, one.push.site])) for one in numbered]
        while True:
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline - time.monotonic()):
                    return await self._client.evals(calls)
            except (redis.RedisError, TimeoutError) as exc:
                failure = _translate(exc)
                if not isinstance(failure, SpoolUnclearError) or time.monotonic() + 0.05 >= deadline:
                    raise failure from exc
                await asyncio.sleep(0.05)


async def _answer(connection: AbstractConnection) -> object:
    try:
        return await connection.read_response()
    except redis.ResponseError as exc:
        return exc


def _arguments(one: Numbered, first: int) -> list[Any]:
    push = one.push
    names = (push.source, f"pushed:{one.producer}", "ledger", "alerts", "live")
    keys = [*(key(push.site, name) for name in names), SITES, EPOCH, ALARMS]
    accepted = push.source != "failed"
    cap = ALERTS_CAP if push.alerts and accepted else 0
    counts = [push.minute, ACCEPTED if accepted else REJECTED, len(push.records), push.digest, push.last_ms]
    return [*keys, one.seq, cap, int(accepted), *counts, push.site, first, *push.records]


def _refusal(one: Push, answer: object) -> SpoolRefusedError | None:
    if answer in (b"OK", b"DUP"):
        return None
    if answer == b"GAP":
        return SpoolForgotError(f"{one.site}: Redis has forgotten pushes it had acknowledged (GAP)")
    if isinstance(answer, Exception) and _is_denied(answer):
        return cast(SpoolRefusedError, _translate(answer))
    return SpoolRefusedError(f"{one.site}: {answer}")


def connect_pusher(settings: RedisSettings, seconds: float, durable: bool = True) -> PushClient:
    """Return a Pusher's client; each new connection first proves that Redis keeps what it answers."""
    connected = {"redis_connect_func": _prove} if durable else {}
    return PushClient(
        **_access(settings, seconds),
        retry=AsyncRetry(NoBackoff(), 0),
        max_connections=4,
        **cast(Any, connected),
    )


class _Unsafe(redis.ResponseError):
    """Redis is not set up to keep what it acknowledges."""


async def _prove(connection: AbstractConnection) -> None:
    """Refuse a Redis whose configuration could lose what it acknowledged."""
    await connection.on_connect()
    await connection.send_command("CONFIG", "GET", *NEEDED)
    answer = await connection.read_response()
    flat = list(answer.items()) if isinstance(answer, dict) else list(zip(answer[::2], answer[1::2], strict=True))
    found = {text(name): text(value) for name, value in flat}
    wrong = [
        f"{name} is {found.get(name, 'unknown')}, must be {need}"
        for name, need in NEEDED.items()
        if found.get(name) != need
    ]
    if wrong:
        raise _Unsafe(f"Redis would not keep what it acknowledges: {'; '.join(wrong)} (see redis_pd/redis.conf)")


# --------------------------------------------------------------------------------------------------------------- drain


class Spool:
    """The reading end, for r2bq and the operator's commands."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client

    def register(self, holder: Holder) -> None:
        """Make a writer known as the owner of a claim of its own."""
        self._run(scripts.REGISTER, _keys(holder, "writer", "workers", "lease"), [holder.writer, LEASE_MS])

    def beat(self, holder: Holder) -> None:
        """Renew the lease on a claim; raises WriterGoneError if the actor does not own it any more."""
        self._run(scripts.BEAT, _keys(holder, "writer", "lease", "claim"), [holder.actor, LEASE_MS])

    def claim(self, holder: Holder, rows: int, max_bytes: int, *, whole: bool = True) -> Claim:
        """Move up to `rows` records, at most about `max_bytes` or one, from the old end of the list into the claim.

        A claim that holds records is returned as it is; without `whole`, where it is not assigned, more are added, and
        those alone are returned. Raises NotOurTurnError where another writer has the list to itself, ClaimChangedError
        where the claim was changed while it was read.
        """
        keys = [*_keys(holder, "list", "claim", "writer", "tries"), list_key(holder.site, holder.source, "turn")]
        alone = holder.source in ALONE
        others = list_key(holder.site, holder.source, "writer:")
        arguments = [holder.actor, rows, max_bytes, int(whole), int(alone), others, CHUNK_ROWS]
        answer, found = self._run_with_rows(scripts.CLAIM, keys, arguments, holder, -1 if whole else CHUNK_ROWS - 1)
        if answer == b"TURN":
            raise NotOurTurnError(f"{keys[1]} has another writer")
        token, table, stream, offset, moved, length, tries, waiting = cast(list[Any], answer)
        return Claim(
            token=text(token),
            table=text(table),
            stream=text(stream),
            offset=int(offset or 0),
            rows=_exactly(found if whole else found[:moved], length if whole else moved, holder),
            moved=moved,
            length=length,
            tries=tries,
            waiting=waiting,
        )

    def assign(self, holder: Holder, token: str, table: str, new_stream: str = "") -> tuple[str, int] | None:
        """Fix table, stream and offset of the claim before it is written; None: a stream must be made first."""
        answer = self._run(scripts.ASSIGN, _keys(holder, "claim", "writer"), [holder.actor, token, table, new_stream])
        if answer == b"STREAM":
            return None
        stream, offset = cast(list[Any], answer)
        return text(stream), int(offset)

    def settle(self, holder: Holder, token: str, counts: Sequence[Count]) -> None:
        """Free a claim that is written, and count it."""
        keys = _keys(holder, "claim", "writer", "ledger")
        self._run(scripts.SETTLE, keys, [holder.actor, token, *_lines(counts)])

    def sort(
        self,
        holder: Holder,
        token: str,
        flags: str,
        *,
        failed: Sequence[bytes] = (),
        counts: Sequence[Count] = (),
        drop_stream: bool = False,
    ) -> None:
        """Sort a claim's rows by a flag each, a letter of the script SORT; the failed ones' records are given."""
        keys = _keys(holder, "list", "claim", "writer", "failed", "ledger", "later", "tries")
        arguments = [holder.actor, token, int(drop_stream), flags, len(failed), *failed, *_lines(counts)]
        self._run(scripts.SORT, keys, arguments)

    def adopt(self, holder: Holder) -> Claim | None:
        """Take over the claim of a writer whose lease has lapsed; None if it lives or is no more."""
        keys = _keys(holder, "claim", "writer", "lease")
        answer, found = self._run_with_rows(scripts.ADOPT, keys, [holder.actor, LEASE_MS], holder, -1)
        if answer in (b"BUSY", b"NONE"):
            return None
        token, table, stream, offset, length = cast(list[Any], answer)
        return Claim(
            token=text(token),
            table=text(table),
            stream=text(stream),
            offset=int(offset or 0),
            rows=_exactly(found, length, holder),
            length=length,
        )

    def forget(self, holder: Holder) -> bool:
        """Remove a writer whose claim is empty; return whether it is gone."""
        keys = _keys(holder, "claim", "writer", "lease", "workers")
        return self._run(scripts.FORGET, keys, [holder.actor, holder.writer]) == b"OK"

    def beats(self, holders: Sequence[Holder]) -> list[bool | None]:
        """Renew the lease of each writer in one round trip; return whether its claim holds rows, None if it is gone."""
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for holder in holders:
                keys = _keys(holder, "writer", "lease", "claim")
                pipe.eval(scripts.BEAT, len(keys), *keys, holder.actor, LEASE_MS)
            return [None if answer == b"GONE" else answer == b"HOLDS" for answer in (pipe.execute() if holders else [])]

    def lapsed(self, lists: Sequence[tuple[str, str]]) -> list[list[str]]:
        """Return for each (site, list) the registered writers that show no sign of life."""
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for site, source in lists:
                pipe.smembers(list_key(site, source, "workers"))
            known = [sorted(map(text, members)) for members in (pipe.execute() if lists else [])]
            leases = [
                list_key(*place, f"lease:{writer}")
                for place, writers in zip(lists, known, strict=True)
                for writer in writers
            ]
            for lease in leases:
                pipe.exists(lease)
            alive = dict(zip(leases, pipe.execute() if leases else [], strict=True))
        return [
            [writer for writer in writers if not alive[list_key(*place, f"lease:{writer}")]]
            for place, writers in zip(lists, known, strict=True)
        ]

    def backlogs(self, lists: Sequence[tuple[str, str]]) -> list[Backlog]:
        """Return what waits in each (site, list), in one round trip."""
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for site, source in lists:
                pipe.llen(key(site, source))
                pipe.lindex(key(site, source), -1)
            answers = pipe.execute(raise_on_error=False)
        pairs = zip(answers[::2], answers[1::2], strict=True)
        return [
            Backlog(length=0, oldest=None) if isinstance(length, Exception) else Backlog(length=length, oldest=oldest)
            for length, oldest in pairs
        ]

    def memory(self) -> Memory:
        """Return how much memory Redis has in use, and how much it may have."""
        with translated():
            told = self._client.info("memory")
        return Memory(used_bytes=int(told["used_memory"]), most_bytes=int(told["maxmemory"]))

    def on_the_way(self, site: str, *, judged: bool = False) -> set[str] | None:
        """Return the ids of all events in the lists of a site and in the claims on them, resends aside.

        All at one moment; None where so many records wait that reading them would hold up everybody else, or where a
        writer has come meanwhile. `judged`: those resends, too, that a writer has claimed.
        """
        sources = [source for source in LISTS if source not in ALONE]
        claimed = LISTS if judged else sources
        with translated():
            workers = [list_key(site, source, "workers") for source in claimed]
            claims = [claim for source in claimed for claim in self._claims(site, source)]
            names = [*(key(site, source) for source in sources), *claims]
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.llen(name)
            if sum(pipe.execute()) > SEEK_ROWS:
                return None
            pipe = self._client.pipeline(transaction=True)
            for name in workers:
                pipe.smembers(name)
            for name in names:
                pipe.lrange(name, 0, SEEK_ROWS)
            found = pipe.execute()
        known = {claim.rpartition(":")[2] for claim in claims}
        rows = [row for some in found[len(workers) :] for row in some]
        if len(rows) > SEEK_ROWS or {text(one) for some in found[: len(workers)] for one in some} - known:
            return None
        return {one[1].decode() for row in rows if (one := _EVENT.search(row))}

    def lengths(self, sites: Sequence[str]) -> list[int]:
        """Return how many records wait in all lists of each site, those in claims aside."""
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for site in sites:
                for name in LISTS:
                    pipe.llen(key(site, name))
            found = [0 if isinstance(one, Exception) else int(one) for one in pipe.execute(raise_on_error=False)]
        return [sum(found[place : place + len(LISTS)]) for place in range(0, len(found), len(LISTS))]

    def sites(self) -> set[str]:
        """Return every site that ever had records here."""
        with translated():
            return {text(one) for one in self._client.smembers(SITES)}

    def look(self, site: str) -> Look:
        """Return a site's lengths, oldest records and ledger totals, changing nothing."""
        with translated():
            ledger = _numbers(self._client.hgetall(key(site, "ledger")))
            lists = [key(site, source) for source in COUNTED]
            claims = [claim for source in COUNTED for claim in self._claims(site, source)]
            pipe = self._client.pipeline(transaction=False)
            for name in (*lists, *claims):
                pipe.llen(name)
                pipe.lindex(name, -1)
            for name in (key(site, "failed"), *self._claims(site, "failed")):
                pipe.llen(name)
            answers = pipe.execute()
        ends = 2 * (len(lists) + len(claims))
        lengths, oldest = answers[:ends:2], answers[1:ends:2]
        return Look(
            queue=sum(lengths[: len(lists)]),
            claimed=sum(lengths[len(lists) :]),
            waiting_failed=sum(answers[ends:]),
            oldest=[one for one in oldest if one is not None],
            ledger=ledger,
        )

    def glances(self, sites: Sequence[str], days: Sequence[str]) -> list[Look]:
        """Return a look at each site whose ledger has these days (YYYYMMDD) alone; for who asks every second.

        Two round trips for all sites, and however much there is of one, a few numbers and its oldest records. What
        somebody else has put under a key of ours counts as nothing.
        """
        names = [*(day + kind for day in days for kind in (ACCEPTED, SETTLED, FAILED, REJECTED)), "last"]
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for site in sites:
                for source in LISTS:
                    pipe.smembers(list_key(site, source, "workers"))
            workers = iter(pipe.execute(raise_on_error=False) if sites else [])
            lists = [{source: _claims(site, source, next(workers)) for source in LISTS} for site in sites]
            for site, claims in zip(sites, lists, strict=True):
                for name in _listed(site, claims):
                    pipe.llen(name)
                    pipe.lindex(name, -1)
                pipe.hmget(key(site, "ledger"), names)
            answers = iter(pipe.execute(raise_on_error=False) if sites else [])
        return [_glance(site, claims, names, answers) for site, claims in zip(sites, lists, strict=True)]

    def ledger(self, site: str) -> Ledger:
        """Return what is counted for a site, and how many records are in its lists and claims; changes nothing.

        A day and its minutes are of one moment, and so are `whole` and `waiting`.
        """
        with translated():
            keys = [part for source in COUNTED for part in (key(site, source), list_key(site, source, "workers"))]
            claims = [list_key(site, source, "claim:") for source in COUNTED]
            weighed = cast(list[Any], self._run(scripts.WEIGH, [key(site, "ledger"), *keys], claims))
            flat = weighed[1] if len(weighed) > 1 else []
            fields: dict[bytes | str, bytes | str] = dict(zip(flat[::2], flat[1::2], strict=True))
            damaged = _damaged(site, fields) if len(weighed) > 1 else {"": f"{key(site, 'ledger')} is no hash"}
            days, minutes = totals(_numbers(fields), 8), dict[str, Totals]()
            whole = added(days.values())
            for day in sorted(days)[-LEDGER_DAYS:]:
                days[day], of_day = self._day(site, day)
                minutes |= of_day
            epoch_ms = self.epoch_ms()
        return Ledger(
            days=days,
            minutes=minutes,
            whole=whole,
            waiting=int(weighed[0]),
            epoch_ms=epoch_ms,
            damaged=damaged,
        )

    def epoch_ms(self) -> int | None:
        """Return since when this Redis counts, in milliseconds since 1970; None before its first push."""
        with translated():
            epoch = self._client.get(EPOCH)
        return int(epoch) if epoch and _is_number(epoch) else None

    def alarms(self) -> dict[str, str]:
        """Return the alarms that nobody has acknowledged, by name: `gap:<site>` with a time in milliseconds."""
        with translated():
            return {text(name): text(value) for name, value in sorted(self._client.hgetall(ALARMS).items())}

    def acknowledge(self, alarms: Mapping[str, str]) -> None:
        """Forget these alarms, unless they have been raised anew since they were read."""
        if alarms:
            self._run(scripts.ACKNOWLEDGE, [ALARMS], [part for pair in alarms.items() for part in pair])

    def _day(self, site: str, day: str) -> tuple[Totals, dict[str, Totals]]:
        """Return one day and its minutes as they are together at one moment."""
        pipe = self._client.pipeline(transaction=True)
        pipe.hmget(key(site, "ledger"), [day + kind for kind in KINDS])
        hours = [f"{day}{hour:02}" for hour in range(24)]
        for hour in hours:
            pipe.hgetall(key(site, f"ledger:{hour}"))
        counted, *found = pipe.execute(raise_on_error=False)
        numbers = {day + kind: int(value) for kind, value in zip(KINDS, counted, strict=True) if _is_number(value)}
        minutes = {
            hour + minute: one
            for hour, fields in zip(hours, found, strict=True)
            if isinstance(fields, dict)  # else somebody else's: its minutes are unknown, and the day is judged whole
            for minute, one in totals(_numbers(fields), 2).items()
        }
        return totals(numbers, 8).get(day, Totals()), minutes

    def retry(
        self, site: str, retries: Sequence[Retry], *, since_ms: int | None, alerts: bool
    ) -> list[str | SpoolRefusedError]:
        """Send failed records again, each once however often this is called; return what became of each.

        OK: sent. DUP: it was sent before. OLD: it is older than the failed table keeps. `since_ms` is what
        `marks_since` said when the caller looked for marks; None if it relies on none. After an error the call may be
        repeated.
        """
        names = ("retried", "ledger", "alerts", "live")
        keys = [*(key(site, name) for name in names), SITES, EPOCH]
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for one in retries:
                mark: list[Any] = [one.fid, RETRIED_DAYS * 86_400_000, "" if since_ms is None else since_ms]
                told = [ALERTS_CAP if alerts and one.is_new else 0, int(one.is_new)]
                given = [*mark, *told, site, one.record, *one.count.line()]
                pipe.eval(scripts.RETRY, 1 + len(keys), key(site, one.source), *keys, *given)
            answers: list[object] = pipe.execute(raise_on_error=False) if retries else []
        return [_retried(site, answer) for answer in answers]

    def retried(self, site: str, fids: Sequence[str] | None = None) -> dict[str, int]:
        """Return which of these failed records, or of all, were sent again, and when (milliseconds since 1970)."""
        with translated():
            if fids is None:
                marks = _numbers(dict(self._client.hscan_iter(key(site, "retried"), count=1000)))
                return {fid: when_ms for fid, when_ms in marks.items() if fid != "since"}
            found = self._client.hmget(key(site, "retried"), list(fids)) if fids else []
        return _numbers({fid: when for fid, when in zip(fids, found, strict=True) if when is not None})

    def marks_since(self, site: str) -> int | None:
        """Return since when it is known which failed records were sent again, in milliseconds; None if it is not."""
        with translated():
            return int(self._client.hget(key(site, "retried"), "since") or 0) or None

    def _claims(self, site: str, source: str) -> list[str]:
        return _claims(site, source, self._client.smembers(list_key(site, source, "workers")))

    def live(self, sites: Sequence[str], tell: Callable[[SpoolError], None]) -> Iterator[bytes | None]:
        """Yield each record as it is accepted by one of the sites, and None after a second without; see `heard`."""
        return (one and one[1] for one in self.heard(sites, tell))

    def heard(self, sites: Sequence[str], tell: Callable[[SpoolError], None]) -> Iterator[tuple[str, bytes] | None]:
        """Yield each record as it is accepted, with its site, and None after a second without; for ever.

        While Redis is away, each error is given to `tell`, and what is accepted meanwhile is not seen.
        """
        while True:
            try:
                yield from self._heard(sites)
            except SpoolError as exc:
                tell(exc)
                time.sleep(LIVE_SECONDS)  # nothing tells when Redis is back

    def _heard(self, sites: Sequence[str]) -> Iterator[tuple[str, bytes] | None]:
        channels = {key(site, "live").encode(): site for site in sites}
        made = self._client.pubsub(ignore_subscribe_messages=True)
        with translated(), made as channel:
            channel.subscribe(*channels)
            while True:
                heard = channel.get_message(timeout=LIVE_SECONDS)
                yield (channels[heard["channel"]], cast(bytes, heard["data"])) if heard else None

    def ping(self) -> None:
        """Raise SpoolError unless Redis answers."""
        with translated():
            self._client.ping()

    def _run(self, script: str, keys: list[str], arguments: Sequence[Any]) -> object:
        with translated():
            answer: object = self._client.eval(script, len(keys), *keys, *arguments)
        return _ours(answer, keys)

    def _run_with_rows(
        self, script: str, keys: list[str], arguments: Sequence[Any], holder: Holder, last: int
    ) -> tuple[object, list[bytes]]:
        """Run a script and read its claim's rows up to place `last`, in one trip.

        A script that returned them itself would turn each into a text of Lua, and hold Redis up for milliseconds.
        """
        with translated():
            pipe = self._client.pipeline(transaction=False)
            pipe.eval(script, len(keys), *keys, *arguments)
            pipe.lrange(holder.key("claim"), 0, last)
            answer, rows = pipe.execute(raise_on_error=False)
            if isinstance(answer, Exception):
                raise answer
            if isinstance(rows, Exception):
                raise rows
        return _ours(answer, keys), rows


def connect(settings: RedisSettings, seconds: float = 5.0) -> "redis.Redis":
    """Return the client for a Spool."""
    return redis.Redis(**_access(settings, seconds), retry=SyncRetry(NoBackoff(), 0))


def _access(settings: RedisSettings, seconds: float) -> dict[str, Any]:
    """Return where Redis is and who we are there, as redis-py takes it."""
    return {
        "host": settings.host,
        "port": settings.port,
        "username": settings.user or None,
        "password": settings.password or None,
        "ssl": settings.tls,
        "ssl_ca_certs": settings.ca or None,
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
    }


@contextmanager
def translated() -> Iterator[None]:
    """Turn redis-py's errors into ours."""
    try:
        yield
    except (redis.RedisError, TimeoutError) as exc:
        raise _translate(exc) from exc


def _translate(error: BaseException) -> SpoolUnclearError | SpoolRefusedError:
    if isinstance(error, _Unsafe):
        return SpoolUnsafeError(str(error))
    if isinstance(error, redis.AuthenticationError):
        return SpoolDeniedError(f"Redis does not let us in: check REDIS_USER and REDIS_PASSWORD: {error}")
    if _is_denied(error):
        return SpoolDeniedError(f"Redis does not let REDIS_USER do this (see redis_pd/users.acl): {error}")
    if isinstance(error.__cause__ or error.__context__, ssl.SSLError):
        return SpoolDeniedError(f"no TLS with Redis: check REDIS_TLS and REDIS_CA: {error}")
    if isinstance(error, redis.ResponseError) and not isinstance(error, redis.exceptions.BusyLoadingError):
        return SpoolRefusedError(f"Redis refused: {error}")
    return SpoolUnclearError(f"Redis gave no answer: {error or type(error).__name__}{_doubt(error)}")


def _is_denied(error: BaseException) -> bool:
    """Say whether the user's rules forbid a command, or one within a script."""
    told = str(error) if isinstance(error, redis.ResponseError) else ""
    is_script = any(sign in told for sign in ("ACL failure in script", "executing the script can't", "NOPERM"))
    return is_script or isinstance(error, redis.exceptions.NoPermissionError)


def _doubt(error: BaseException) -> str:
    """Return what a connection that ends before it begins may mean, too: one end speaks TLS, the other does not."""
    is_silent = any(sign in str(error) for sign in ("Connection reset", "Connection closed", "Timeout connecting"))
    return " (or is REDIS_TLS wrong?)" if is_silent else ""


def _retried(site: str, answer: object) -> str | SpoolRefusedError:
    if answer == b"LOST":
        return SpoolForgotError(f"{site}: Redis was emptied meanwhile; run it again")
    if isinstance(answer, Exception) and _is_denied(answer):
        return cast(SpoolRefusedError, _translate(answer))
    return text(answer) if isinstance(answer, bytes) else SpoolRefusedError(f"{site}: Redis refused: {answer}")


def _ours(answer: object, keys: Sequence[str]) -> object:
    """Return the answer of a script that has acted; raises what keeps it from acting."""
    if answer == b"GONE":
        raise WriterGoneError(f"{keys[1]} belongs to another writer now")
    if answer == b"RELOAD":
        raise ClaimChangedError(f"{keys[1]} has changed")
    return answer


def _exactly(rows: list[bytes], count: int, holder: Holder) -> list[bytes]:
    """Return the rows of a claim; raises ClaimChangedError where they are not what the script counted."""
    if len(rows) != count:
        raise ClaimChangedError(f"{holder.key('claim')} has changed")
    return rows


def _keys(holder: Holder, *names: str) -> list[str]:
    """Return the key that is never there, then those that `names` mean for this claim."""
    site, source = holder.site, holder.source
    shared = {name: key(site, name) for name in ("ledger", "failed", "later", "tries")} | {"list": key(site, source)}
    shared["workers"] = list_key(site, source, "workers")
    return [key(site, "none"), *(shared.get(name) or holder.key(name) for name in names)]


def _lines(counts: Sequence[Count]) -> list[str | int]:
    return [part for count in counts for part in count.line()]


def text(value: bytes | str) -> str:
    """Return what Redis holds as text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _claims(site: str, source: str, writers: object) -> list[str]:
    """Return the keys of these writers' claims; none where the answer is no set of writers."""
    names = sorted(map(text, writers)) if isinstance(writers, set | list) else []
    return [Holder(site, source, writer, writer).key("claim") for writer in names]


def _listed(site: str, claims: Mapping[str, list[str]]) -> list[str]:
    """Return the lists of a site, each with the claims on it, in the order of LISTS."""
    return [name for source, some in claims.items() for name in (key(site, source), *some)]


def _glance(site: str, claims: Mapping[str, list[str]], names: Sequence[str], answers: Iterator[Any]) -> Look:
    """Return a look by what was answered of a site: length and oldest of each list, then the fields of its ledger."""
    found = {name: (next(answers), next(answers)) for name in _listed(site, claims)}
    lengths = {name: length if isinstance(length, int) else 0 for name, (length, _) in found.items()}
    counted = [name for source in COUNTED for name in (key(site, source), *claims[source])]
    fields = next(answers)
    values = fields if isinstance(fields, list) else [None] * len(names)
    return Look(
        queue=sum(lengths[key(site, source)] for source in COUNTED),
        claimed=sum(lengths[name] for source in COUNTED for name in claims[source]),
        waiting_failed=sum(lengths[name] for name in (key(site, "failed"), *claims["failed"])),
        oldest=[found[name][1] for name in counted if isinstance(found[name][1], bytes)],
        ledger=_numbers({name: value for name, value in zip(names, values, strict=True) if value is not None}),
    )


def _numbers(fields: Mapping[bytes | str, bytes | str]) -> dict[str, int]:
    """Return the fields of a hash that hold a number; what somebody else has put there is passed over."""
    return {text(name): int(value) for name, value in fields.items() if _is_number(value)}


def _damaged(site: str, fields: Mapping[bytes | str, bytes | str]) -> dict[str, str]:
    """Return the days of which a field holds no number, each with a sentence."""
    texts = {text(name): value for name, value in fields.items()}
    wrong = {name: "is no day" for name in texts if not is_day(name[:8])}
    wrong |= {name: "holds no number" for name, value in texts.items() if not _is_number(value)}
    told = sorted(wrong.items())
    return {day: f"{key(site, 'ledger')}: {name} {why}" for name, why in told if (day := day_of(name))}


def _is_number(value: bytes | str | None) -> bool:
    digits = "" if value is None else text(value).removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 20  # as Redis itself counts: 64 bits
