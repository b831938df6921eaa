"""Where waiting beacons meet: all that wait go to Redis together, and are answered together.

One flight is under way at a time; what arrives meanwhile waits for the next. So a hundred beacons share one round trip
and one fsync, and the fsync costs nothing that could be measured. `store` returns only when the record is on disk.
"""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import NamedTuple, Protocol

from arms import metrics
from oceanus.pushes import Push

log = logging.getLogger(__name__)

MAX_FLIGHT = 2000  # records in one trip: Redis serves nobody else while it takes them
MAX_FLIGHT_BYTES = 4 * 1024 * 1024  # a quarter of a segment of the journal, which must have room for all of it
MAX_WAITING = 20_000
MAX_WAITING_BYTES = 64 * 1024 * 1024

Told = Callable[[str | None], None]  # None: the record is on disk; a text: why it is not


class Keeper(Protocol):
    """What makes a flight durable."""

    async def keep(self, pushes: Sequence[Push]) -> list[str | None]:
        """Make every push durable; a text at a push's place says why it is not."""


class NotStoredError(Exception):
    """The record is not known to be on disk: answer 503, so that whoever sent it sends it again."""


class Waiting(NamedTuple):
    """One record on its way, and who waits for it."""

    site: str
    source: str
    minute: str
    digest: int
    received_ms: int
    text: bytes
    alerts: bool
    named: bool
    told: Told


class Gather:
    """Collects records while a flight is under way, and sends them with the next."""

    def __init__(self, store: Keeper) -> None:
        self._store = store
        self._waiting: list[Waiting] = []
        self._waiting_bytes = 0
        self._flying: asyncio.Task[None] | None = None

    def store(
        self,
        site: str,
        source: str,
        text: bytes,
        *,
        minute: str,
        digest: int,
        received_ms: int,
        alerts: bool = False,
        named: bool = False,
    ) -> "asyncio.Future[None]":
        """Return what is done when the record is on Redis' disk; it raises NotStoredError where that is not so."""
        stored = asyncio.get_running_loop().create_future()
        self.put(Waiting(site, source, minute, digest, received_ms, text, alerts, named, partial(settle, stored)))
        return stored

    def put(self, one: Waiting) -> None:
        """Take a record; what has become of it is told once: later, or within this call where too many wait."""
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + len(one.text) > MAX_WAITING_BYTES:
            _tell([one], "too many beacons wait for Redis already")
            return
        self._waiting_bytes += len(one.text)
        self._waiting.append(one)
        if self._flying is None or self._flying.done():
            self._flying = asyncio.create_task(self._fly())

    async def _fly(self) -> None:
        while self._waiting:
            flight = self._board()
            try:
                await self._send(flight)
            except BaseException:
                flight, self._waiting, self._waiting_bytes = flight + self._waiting, [], 0
                _tell(flight, "arms is stopping")
                raise

    def _board(self) -> list[Waiting]:
        """Take who flies next from those who wait: as many as one trip carries, at least one."""
        size = count = 0
        for one in self._waiting[:MAX_FLIGHT]:
            size += len(one.text)
            if count and size > MAX_FLIGHT_BYTES:
                break
            count += 1
        flight, self._waiting = self._waiting[:count], self._waiting[count:]
        self._waiting_bytes -= sum(len(one.text) for one in flight)
        return flight

    async def _send(self, flight: list[Waiting]) -> None:
        groups: dict[tuple[str, str, str, bool], list[Waiting]] = defaultdict(list)
        for one in flight:
            groups[one.site, one.source, one.minute, one.named].append(one)
        begun = perf_counter()
        answers = await self._store.keep([_push(*key, group) for key, group in groups.items()])
        metrics.PUSH_SECONDS.observe(perf_counter() - begun)
        for group, refusal in zip(groups.values(), answers, strict=True):
            if refusal:
                log.error("%d beacons are not stored and answered 503: %s", len(group), refusal)
            _tell(group, refusal)


def _push(site: str, source: str, minute: str, named: bool, group: list[Waiting]) -> Push:
    return Push(
        site=site,
        source=source,
        minute=minute,
        digest=sum(one.digest for one in group),
        last_ms=max(one.received_ms for one in group),
        records=[one.text for one in group],
        alerts=group[0].alerts,
        named=named,
    )


def _tell(group: list[Waiting], refusal: str | None) -> None:
    """Tell what has become of records, and count the beacons among them."""
    for one in group:
        try:
            one.told(refusal)
        except Exception:  # the others are to hear, too
            log.exception("an answer was not given")
    try:
        _count([one for one in group if one.source != "failed"], refusal)
    except Exception:  # or they would be told again
        log.exception("beacons were not counted")


def _count(beacons: list[Waiting], refusal: str | None) -> None:
    for site, count in Counter(one.site for one in beacons).items():
        metrics.BEACONS.labels(site, "unavailable" if refusal else "accepted").inc(count)
    if not refusal:
        for site, last in {one.site: one for one in beacons}.items():
            metrics.LAST.labels(site).set(last.received_ms / 1000)


def settle(stored: "asyncio.Future[None]", refusal: str | None) -> None:
    """Let whoever awaits a record know what has become of it."""
    if stored.done():  # its client has gone; the record stays
        return
    if refusal:
        stored.set_exception(NotStoredError(refusal))
    else:
        stored.set_result(None)
