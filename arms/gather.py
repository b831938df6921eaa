"""Where waiting beacons meet: all that wait go to Redis together, and are answered together.

One flight is under way at a time; what arrives meanwhile waits for the next. So a hundred beacons share one round trip
and one fsync, and the fsync costs nothing that could be measured. `store` returns only when the record is on disk.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple, Protocol

from arms import metrics
from oceanus.pushes import Push

log = logging.getLogger(__name__)

MAX_FLIGHT = 2000  # records in one trip: Redis serves nobody else while it takes them
MAX_FLIGHT_BYTES = 4 * 1024 * 1024  # a quarter of a segment of the journal, which must have room for all of it
MAX_WAITING = 20_000
MAX_WAITING_BYTES = 64 * 1024 * 1024


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
    stored: "asyncio.Future[None]"


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
        """Return what is done when the record is on Redis' disk; it, or this call, raises NotStoredError."""
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + len(text) > MAX_WAITING_BYTES:
            raise NotStoredError("too many beacons wait for Redis already")
        self._waiting_bytes += len(text)
        stored = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(site, source, minute, digest, received_ms, text, alerts, named, stored))
        if self._flying is None or self._flying.done():
            self._flying = asyncio.create_task(self._fly())
        return stored

    async def _fly(self) -> None:
        while self._waiting:
            flight = self._board()
            try:
                await self._send(flight)
            except BaseException:
                flight, self._waiting, self._waiting_bytes = flight + self._waiting, [], 0
                _fail(flight, "arms is stopping")
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
                _fail(group, refusal)
            else:
                _succeed(group)
                if group[0].source != "failed":
                    metrics.BEACONS.labels(group[0].site, "accepted").inc(len(group))
                    metrics.LAST.labels(group[0].site).set(group[-1].received_ms / 1000)


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


def _succeed(group: list[Waiting]) -> None:
    for one in group:
        if not one.stored.done():  # its client may have gone; the record stays
            one.stored.set_result(None)


def _fail(group: list[Waiting], reason: str) -> None:
    for one in group:
        if not one.stored.done():
            one.stored.set_exception(NotStoredError(reason))
