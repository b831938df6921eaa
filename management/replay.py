"""The replay: the lines of an access log sent as beacons, each once, each with its visitor's address, agent and time.

A beacon is sent again only where it was surely not stored (no connection, 503). One whose answer got lost may have
been stored: it is counted as unclear and named, never repeated.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import httpx

from arms.intake import OLDEST_DAYS
from management.accesslog import Beacon, beacon
from management.wording import counted

IN_FLIGHT = 32
PATIENCE_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 5.0
NAMED_FAILURES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What a log covers: its lines, and the first, earliest and last time that it says (None: it says none)."""

    lines: int
    first: datetime | None
    earliest: datetime | None
    last: datetime | None


@dataclass(frozen=True, slots=True)
class Sending:
    """One beacon with the number of its line and its time as it is sent."""

    line: int
    beacon: Beacon
    time: datetime | None


@dataclass(slots=True)
class Tally:
    """What became of the beacons; `failures` counts each reason and keeps the first line it was about."""

    accepted: int = 0
    rejected: int = 0
    unclear: int = 0
    unparsed: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    first_lines: dict[str, int] = field(default_factory=dict)

    @property
    def sent(self) -> int:
        """Return how many beacons were sent."""
        return self.accepted + self.rejected + self.unclear

    def fail(self, reason: str, line: int) -> None:
        """Count a beacon that was not accepted."""
        self.failures[reason] += 1
        self.first_lines.setdefault(reason, line)


@dataclass(frozen=True, slots=True)
class _Later:
    """Why a beacon was surely not stored, and after how many seconds the collector wants it again."""

    meaning: str
    reason: str
    seconds: float


class NobodyAnswersError(Exception):
    """Nothing was accepted for a long time: give up; what was not sent was not stored."""


def span(lines: Iterable[bytes]) -> Span:
    """Return what a log covers."""
    covered = Span(lines=0, first=None, earliest=None, last=None)
    for raw in lines:
        told = beacon(raw, None).time
        covered = Span(
            lines=covered.lines + 1,
            first=covered.first or told,
            earliest=min(filter(None, (covered.earliest, told)), default=None),
            last=max(filter(None, (covered.last, told)), default=None),
        )
    return covered


def sendings(lines: Iterable[bytes], covered: Span, shift: timedelta) -> Iterator[Sending]:
    """Yield every line as a beacon, in order, its time moved by `shift`; a line without time takes the one before's."""
    previous = covered.first
    for number, raw in enumerate(lines, 1):
        one = beacon(raw, previous)
        previous = one.time
        yield Sending(number, one, None if one.time is None else _moved(one.time, shift))


def shift_to(covered: Span, now: datetime) -> timedelta:
    """Return by how much times move, so that the last is now and all gaps are kept."""
    return timedelta(0) if covered.last is None else now - covered.last


def too_old(covered: Span, shift: timedelta, now: datetime, days: int = OLDEST_DAYS) -> bool:
    """Say whether some lines will be older than the `days` that arms takes."""
    return covered.earliest is not None and _moved(covered.earliest, shift) < now - timedelta(days=days)


def oldest_days(expiry_days: int | None) -> int:
    """Return how old a beacon may be for arms, by what the site's table keeps."""
    return min(OLDEST_DAYS, expiry_days or OLDEST_DAYS)


def is_no_log(tally: Tally) -> bool:
    """Say whether most lines could not be parsed."""
    return tally.unparsed * 2 > tally.sent


def closing(tally: Tally, site: str, seconds: float, lines: int) -> str:
    """Return the closing line."""
    counts = f"{tally.accepted} accepted, {tally.rejected} rejected, {tally.unclear} unclear"
    unparsed = f"{counted(tally.unparsed, 'line')} could not be parsed"
    line = f"sent {counted(tally.sent, 'beacon')} to {site} in {seconds:.1f} s: {counts}, {unparsed}"
    left = lines - tally.sent
    return line if not left else f"{line}; {counted(left, 'line')} {'was' if left == 1 else 'were'} not sent"


def named(tally: Tally) -> list[str]:
    """Return a line for each reason for which beacons were not accepted, the commonest first."""
    every = tally.failures.most_common()
    lines = [
        f"{count} x {reason} (first in line {tally.first_lines[reason]})" for reason, count in every[:NAMED_FAILURES]
    ]
    others = len(every) - NAMED_FAILURES
    return lines if others <= 0 else [*lines, f"and {counted(others, 'other reason')}"]


class Replay:
    """Sends beacons to one site, up to 32 in flight; `waits` hears once why it has to wait."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        site: str,
        tally: Tally,
        rate: float | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        waits: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._path = f"/swallow/{quote(site)}"
        self._tally = tally
        self._rate = rate
        self._sleep = sleep
        self._clock = clock
        self._waits: Callable[[str], None] | None = waits
        self._next_start = clock()
        self._last_answer = clock()

    async def send(self, beacons: Iterator[Sending], each: Callable[[], None]) -> None:
        """Send all, calling `each` after every one; raises NobodyAnswersError where it makes no sense to go on."""
        workers = [asyncio.create_task(self._work(beacons, each)) for _ in range(IN_FLIGHT)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, beacons: Iterator[Sending], each: Callable[[], None]) -> None:
        for one in beacons:
            await self._wait_for_turn()
            await self._one(one)
            each()

    async def _wait_for_turn(self) -> None:
        if self._rate is None:
            return
        start = max(self._next_start, self._clock())
        self._next_start = start + 1 / self._rate
        await self._sleep(start - self._clock())

    async def _one(self, one: Sending) -> None:
        """Send one beacon until it is clear what became of it."""
        query = urlencode(one.beacon.parameters, quote_via=quote)
        request = self._client.build_request("GET", f"{self._path}?{query}", headers=_headers(one))
        began = self._clock()
        for tries in itertools.count():
            later = await self._try(one, request)
            if later is None:
                break
            self._say_once(later)
            if self._clock() - max(began, self._last_answer) > PATIENCE_SECONDS:
                raise NobodyAnswersError(f"nothing was stored for {PATIENCE_SECONDS:g} s: {later.reason}")
            await self._sleep(max(min(0.1 * 2**tries, LONGEST_PAUSE_SECONDS), later.seconds))
        self._tally.unparsed += not one.beacon.parsed

    def _say_once(self, later: "_Later") -> None:
        told, self._waits = self._waits, None
        if told is not None:
            told(f"arms {later.meaning}; trying again for {PATIENCE_SECONDS:g} s")

    async def _try(self, one: Sending, request: httpx.Request) -> "_Later | None":
        """Send once and count what became of it; return when to try again if it was surely not stored."""
        try:
            response = await self._client.send(request)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as exc:
            return _Later("does not answer", f"no connection ({exc or type(exc).__name__})", 0.0)
        except (httpx.HTTPError, asyncio.CancelledError) as exc:
            self._tally.unclear += 1
            self._tally.fail(f"no answer, it may be stored or not: {type(exc).__name__}", one.line)
            if isinstance(exc, asyncio.CancelledError):
                raise
            return None
        if response.status_code == 503:
            return _Later("cannot store now", "503 Service Unavailable", _asked_seconds(response))
        self._last_answer = self._clock()
        self._count(one, response)
        return None

    def _count(self, one: Sending, response: httpx.Response) -> None:
        if response.status_code == 200:
            self._tally.accepted += 1
            return
        clear = 400 <= response.status_code < 500
        self._tally.rejected += clear
        self._tally.unclear += not clear
        told = response.headers.get("X-Oceanus-Error", "") or response.reason_phrase
        self._tally.fail(f"{response.status_code} {told}", one.line)


@asynccontextmanager
async def client(url: str, token: str) -> AsyncIterator[httpx.AsyncClient]:
    """Yield the client for a collector at `url`."""
    # A connection is given up long before the collector may close it: a request sent into its closing has no answer.
    limits = httpx.Limits(max_connections=IN_FLIGHT, keepalive_expiry=1.0)
    headers = {"Authorization": f"Bearer {token}"}
    waits = httpx.Timeout(30, connect=5)
    async with httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=waits, trust_env=False) as ready:
        yield ready


def _asked_seconds(response: httpx.Response) -> float:
    """Return what Retry-After asks for, within reason; its other form, a date, is not used by arms."""
    told = response.headers.get("Retry-After", "")
    return min(float(told), PATIENCE_SECONDS) if told.isascii() and told.isdigit() else 0.0


def _headers(one: Sending) -> list[tuple[bytes, bytes]]:
    headers = [(b"User-Agent", one.beacon.agent.encode())]
    if one.beacon.address:
        headers.append((b"X-Oceanus-Address", one.beacon.address.encode()))
    if one.time is not None:
        headers.append((b"X-Oceanus-Time", one.time.isoformat().replace("+00:00", "Z").encode()))
    return headers


def _moved(when: datetime, shift: timedelta) -> datetime:
    try:
        return when + shift
    except OverflowError:  # years before 1: arms will say so
        return datetime.min.replace(tzinfo=UTC)
