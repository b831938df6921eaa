"""The store: where a flight of beacons becomes durable: on Redis' disk, else in the journal, else nowhere, and said so.

Whatever Redis did not plainly take goes into the journal under the same producer and number, and is pushed from there
when Redis takes it, so that a push whose answer was lost is recognised and stored once. Nothing is sent to Redis before
the journal has room for all of it: a beacon that is answered 503 is surely not stored.

What comes out of a journal and may stand in its table already goes to the list `resends`, where it is looked up before
it is written: beacons that a tracker may have sent again meanwhile, and all of which Redis may have forgotten that it
had them (a gap in its numbers, a damaged journal, or one of 15 days).
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from arms import entries, metrics
from arms.entries import Damage
from arms.journal import Journal, JournalFullError, Segment
from oceanus import records
from oceanus.errors import SpoolError, SpoolForgotError, SpoolRefusedError
from oceanus.pushes import Numbered, Push
from oceanus.records import Failed

log = logging.getLogger(__name__)

CHUNK = 20  # entries of a journal that are pushed in one trip
ENTRY_BYTES = 512  # more than an entry has beside its records
PATIENCE_SECONDS = 2.0  # without a journal there is nothing to do but wait for Redis a little longer
OLDEST_MS = 15 * 86_400_000  # Redis remembers a name's last number for 30 days, and a name lives for 14


class Redis(Protocol):
    """What a store needs of the spool."""

    def renew(self) -> None:
        """Go on under a new producer's name."""

    def number(self, pushes: Sequence[Push]) -> list[Numbered]:
        """Return the pushes with their numbers."""

    async def send(self, numbered: Sequence[Numbered], seconds: float) -> list[SpoolRefusedError | None]:
        """Store every push or say why not."""

    async def push(self, pushes: Sequence[Push], seconds: float) -> list[SpoolRefusedError | None]:
        """Number, send, and renew where something was not plainly stored."""

    async def ping(self) -> None:
        """Raise SpoolError unless Redis answers and keeps what it acknowledges."""


class Store:
    """A Redis and its journal as one. `keep` is called by one flight at a time, `mend` now and then beside it.

    `name` is that Redis', in the log and among the metrics; empty for the default one.
    """

    def __init__(self, redis: Redis, journal: Journal | None, seconds: float, name: str = "") -> None:
        self._redis = redis
        self._name = name
        self._journal = journal
        self._seconds = seconds if journal else max(seconds, PATIENCE_SECONDS)
        self._away = False
        self._turn = asyncio.Lock()  # a segment is not sealed while it is written

    async def keep(self, pushes: Sequence[Push]) -> list[str | None]:
        """Make every push durable; a text at a push's place says why it is not."""
        if self._journal is None:
            return await self._push(pushes)
        async with self._turn:
            return await self._keep(self._journal, pushes)

    async def _keep(self, journal: Journal, pushes: Sequence[Push]) -> list[str | None]:
        try:
            if journal.reserve(sum(map(_size, pushes))):
                self._redis.renew()  # a producer's numbers stand in one segment, so that they are applied in order
        except JournalFullError as exc:
            return [str(exc)] * len(pushes)
        numbered = self._redis.number(pushes)
        left = numbered if self._away else await self._left(numbered)
        try:
            if left:
                await journal.append(left)
        except JournalFullError as exc:
            log.error("beacons are answered 503: %s", exc)
            return [str(exc) if one in left else None for one in numbered]
        finally:
            self._measure()
        return [None] * len(pushes)

    async def ready(self) -> None:
        """Raise SpoolError or JournalFullError unless a beacon could be made durable now."""
        try:
            await self._redis.ping()
        except SpoolError:
            if self._journal is None:
                raise
            async with self._turn:
                if self._journal.reserve(ENTRY_BYTES):
                    self._redis.renew()

    async def mend(self) -> None:
        """Push what the journal holds, and what others left behind; back to Redis once it takes them."""
        if self._journal is None:
            return
        try:
            self._journal.take_over()
            await self._mend(self._journal)
        except OSError as exc:
            log.error("the journal cannot be read; what is in it waits there: %s", exc)

    async def _mend(self, journal: Journal) -> None:
        if self._away and not journal.waiting:
            await self._seal(journal)
        if await self._push_waiting() and self._away and await self._answers():
            await self._seal(journal, back=True)  # what came meanwhile is pushed beside what comes now
            log.warning("%s takes beacons again", self._name or "Redis")
            await self._push_waiting()
        self._measure()

    async def _seal(self, journal: Journal, back: bool = False) -> None:
        """Let what the journal holds be pushed; what comes from now on has numbers of its own."""
        async with self._turn:
            self._away = self._away and not back
            journal.seal()
            self._redis.renew()

    async def _push(self, pushes: Sequence[Push]) -> list[str | None]:
        try:
            answers = await self._redis.push(pushes, self._seconds)
        except SpoolError as exc:
            metrics.trouble(exc)
            return [str(exc)] * len(pushes)
        refusal = next(filter(None, answers), None)
        if refusal:
            metrics.trouble(refusal)
        return [None if answer is None else str(answer) for answer in answers]

    async def _left(self, numbered: list[Numbered]) -> list[Numbered]:
        """Send a flight to Redis and return what it did not plainly take."""
        try:
            answers = await self._redis.send(numbered, self._seconds)
            left = [one for one, answer in zip(numbered, answers, strict=True) if answer]
            why: SpoolError | None = next(filter(None, answers), None)
        except SpoolError as exc:
            left, why = numbered, exc
        if why:
            metrics.trouble(why)
            self._redis.renew()
            self._away = True
            log.error("beacons go to the journal until %s takes them: %s", self._name or "Redis", why)
        return left

    async def _answers(self) -> bool:
        try:
            await self._redis.ping()
        except SpoolError:
            return False
        return True

    async def _push_waiting(self) -> bool:
        """Push every segment that waits; return whether all are gone."""
        assert self._journal is not None  # noqa: S101 - mend has looked
        for segment in list(self._journal.waiting):
            if not await self._push_segment(segment):
                return False
            self._journal.remove(segment)
        return True

    async def _push_segment(self, segment: Segment) -> bool:
        found = await asyncio.to_thread(lambda: list(entries.decode(segment.read())))
        whole = [one for one in found if isinstance(one, Numbered)]
        hurt = [_set_aside(segment, place, one, whole) for place, one in enumerate(found) if isinstance(one, Damage)]
        why = "is older than 15 days" if _is_old(segment) else "is damaged" if any(hurt) else ""
        if why:  # Redis may have forgotten its numbers, or would take those behind the damage for a gap
            log.warning("%s %s: each of its beacons is looked up before it is written", segment.path, why)
            whole = _renumbered(whole)
        numbered = [_judged(one) if one.push.named else one for one in whole] + [one for one in hurt if one]
        for start in range(0, len(numbered), CHUNK):
            if not await self._push_entries(numbered[start : start + CHUNK]):
                return False
        if numbered:
            log.warning("%s: %d entries pushed", segment.path.name, len(numbered))
        return True

    async def _push_entries(self, numbered: list[Numbered]) -> bool:
        """Push entries in order; return whether all are stored. A name that Redis has forgotten is an alarm."""
        try:
            answers = await self._redis.send(numbered, PATIENCE_SECONDS)
            forgotten = [one for one, answer in zip(numbered, answers, strict=True) if answer]
            if not all(isinstance(answer, SpoolForgotError) for answer in answers if answer):
                return False
            if forgotten:
                log.error("Redis has lost records that it had acknowledged: %s", forgotten[0].producer)
                renamed = [_judged(Numbered(one.push, f"{one.producer}~{one.seq}", 1)) for one in forgotten]
                return not any(await self._redis.send(renamed, PATIENCE_SECONDS))
        except SpoolError:
            return False
        return True

    def _measure(self) -> None:
        assert self._journal is not None  # noqa: S101 - the callers have looked
        oldest = self._journal.oldest_ms
        age_seconds = 0 if oldest is None else max(0.0, time.time() - oldest / 1000)
        metrics.journal(self._name, self._journal.records, self._journal.size, age_seconds)


def _size(push: Push) -> int:
    return ENTRY_BYTES + sum(len(one) + 1 for one in push.records)


def _is_old(segment: Segment) -> bool:
    return segment.oldest_ms is not None and segment.oldest_ms < time.time() * 1000 - OLDEST_MS


def _judged(one: Numbered) -> Numbered:
    """Return a push to the list whose records are looked up before they are written; failed ones go to no site's."""
    if one.push.source == "failed":
        return one
    return Numbered(replace(one.push, source="resends"), one.producer, one.seq)


def _renumbered(whole: list[Numbered]) -> list[Numbered]:
    """Return the pushes of a segment under names that Redis cannot have forgotten: always the same, in their order."""
    numbers: dict[tuple[str, str], int] = defaultdict(int)
    renumbered = []
    for one in whole:
        numbers[one.producer, one.push.site] += 1
        number = numbers[one.producer, one.push.site]
        renumbered.append(_judged(Numbered(one.push, f"{one.producer}~old", number)))
    return renumbered


def _set_aside(segment: Segment, place: int, damage: Damage, whole: list[Numbered]) -> Numbered | None:
    """Return damage in the middle of a segment as a failed record of a site beside it, always under the same number."""
    if damage.is_end:
        log.warning("%s ends in %d bytes of a write that was never answered", segment.path.name, len(damage.raw))
        return None
    now_us = time.time_ns() // 1000
    failed = Failed(
        fid=records.mint(now_us),
        dt=records.time_text(now_us),
        site=whole[0].push.site,
        stage="write",
        reason=f"journal: {segment.path.name} is damaged here",
        raw=damage.raw.decode(errors="backslashreplace"),
    )
    push = Push(
        site=failed.site,
        source="failed",
        minute=records.minute(failed.dt),
        digest=records.digest(failed.fid),
        last_ms=now_us // 1000,
        records=[failed.encode()],
    )
    return Numbered(push, f"{segment.path.name}~{place}", 1)
