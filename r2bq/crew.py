"""The crew: all drains of this process, each stepped when its list is due, several at the same time.

One look at all queues in one round trip tells which are due: `rows` wait, or the oldest has waited `seconds`; the other
lists, which are seldom filled, are looked at once a second. A drain in trouble waits by itself and holds up no other.
The same loop gives the signs of life and finds writers to adopt.
"""

import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from oceanus import records
from oceanus.errors import NotARecordError, SpoolError
from oceanus.spool import LEASE_MS, Backlog, Spool
from r2bq import metrics, resends
from r2bq.drain import Drain
from r2bq.patience import BEAT_SECONDS

log = logging.getLogger(__name__)

TURN_SECONDS = 1.0  # a drain with a backlog steps on this long before others get its thread
# Rows and seconds at which a list that is no queue is due.
LATEST = {"failed": (500, 1.0), "later": (1, 0.0), "resends": (sys.maxsize, resends.RIPE_SECONDS)}
OTHERS_SECONDS = 1.0  # between two looks at the lists that are no queue
TELL_SECONDS = 10.0  # between two lines about a Redis that is away
REMOVED_SECONDS = 60.0  # between two looks for sites that sites.yaml does not declare any more


class Crew:
    """Steps each drain of one Redis when it is due; `name` is that Redis', in the log and among the metrics."""

    def __init__(
        self,
        drains: Sequence[Drain],
        redis: Spool,
        threads: int,
        clock: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        name: str = "",
    ) -> None:
        self._name = name
        self.drains = tuple(drains)
        self._redis = redis
        self._pool = ThreadPoolExecutor(threads, "drain")
        self._clock = clock
        self._now_us = now_us
        self._running: dict[Drain, Future[None]] = {}
        self._orphans: dict[Drain, list[str]] = {}
        self._beats_at = 0.0
        self._adopts_from = 0.0
        self._others_at = 0.0
        self._removed_at = 0.0
        self._tells_from = 0.0
        self._stopping = False
        self.turned_at = clock()

    def step(self) -> bool:
        """Look once at all lists and start the drains that are due; return whether any was."""
        try:
            self._collect()
            if self._clock() >= self._beats_at:
                self._beats_at = self._clock() + BEAT_SECONDS
                self._beat()
                if self._clock() >= self._adopts_from:
                    self._find_orphans()
            self._adopt()
            if self._clock() >= self._removed_at:
                self._removed_at = self._clock() + REMOVED_SECONDS
                self._tell_removed()
            due = [drain for drain, backlog in self._look() if self._is_due(drain, backlog)]
        except SpoolError as exc:
            if self._clock() >= self._tells_from:
                self._tells_from = self._clock() + TELL_SECONDS
                log.warning("%s cannot be read, trying again: %s", self._name or "Redis", exc)
            self._adopts_from = self._clock() + LEASE_MS / 1000  # leases lapsed meanwhile: let the living renew theirs
            due = []
        self.turned_at = self._clock()
        for drain in due:
            self._running[drain] = self._pool.submit(self._turn, drain)
        return bool(due)

    def stop(self, seconds: float) -> None:
        """Let running steps end, at most `seconds`; then hand back what is not assigned."""
        self._stopping = True
        deadline = self._clock() + seconds
        for future in list(self._running.values()):
            try:
                future.result(max(0.0, deadline - self._clock()))
            except TimeoutError:
                log.warning("a write is still under way; whoever adopts it brings it to an end")
        for drain in self.drains:
            if drain not in self._running or self._running[drain].done():
                drain.release()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _turn(self, drain: Drain) -> None:
        ends = self._clock() + TURN_SECONDS
        while drain.step() and not self._stopping and self._clock() < ends:
            pass

    def _collect(self) -> None:
        """Take leave of turns that are over; a surprise in one ends the process, and the claim keeps the records."""
        for drain, future in list(self._running.items()):
            if future.done():
                del self._running[drain]
                future.result()

    def _look(self) -> list[tuple[Drain, Backlog]]:
        everything = self._clock() >= self._others_at
        if everything:
            self._others_at = self._clock() + OTHERS_SECONDS
        asked = [drain for drain in self.drains if everything or drain.source.list == "queue" or drain.holds]
        backlogs = self._redis.backlogs([drain.place for drain in asked])
        for drain, backlog in zip(asked, backlogs, strict=True):
            metrics.waits(self._name, drain.place, backlog.length, self._age(drain, backlog))
        return list(zip(asked, backlogs, strict=True))

    def _tell_removed(self) -> None:
        """Tell of records that nobody drains, because their site is not declared any more."""
        removed = sorted(self._redis.sites() - {drain.source.site.name for drain in self.drains})
        for site, length in zip(removed, self._redis.lengths(removed), strict=True):
            if length:
                log.error("%s: %d records wait, but sites.yaml does not declare it: nobody drains them", site, length)

    def _is_due(self, drain: Drain, backlog: Backlog) -> bool:
        if drain in self._running or self._clock() < drain.waits_until:
            return False
        if drain.holds:
            return True
        if not backlog.length or backlog.oldest is None:
            return False
        batch = drain.source.site.batch
        rows, seconds = LATEST.get(drain.source.list, (batch.rows, batch.seconds))
        return backlog.length >= rows or self._waited(drain, backlog.oldest) >= seconds

    def _age(self, drain: Drain, backlog: Backlog) -> float:
        """Return for how many seconds the oldest record waits; 0 for none, and for what is no record."""
        waited = self._waited(drain, backlog.oldest) if backlog.oldest is not None else 0.0
        return max(0.0, waited) if math.isfinite(waited) else 0.0

    def _waited(self, drain: Drain, oldest: bytes) -> float:
        """Return the seconds since a record was received; what is no record has waited for ever."""
        try:
            record = records.decode(oldest, drain.source.key)
        except NotARecordError:
            return float("inf")
        return (self._now_us() - records.received(record, drain.source.key)) / 1e6

    def _beat(self) -> None:
        """Renew the leases of drains that idle; one that runs gives its own signs of life.

        A claim that was thought lost may have come late, and filled the claim of a drain that idles: it is due then.
        """
        idle = [(drain, drain.holder) for drain in self.drains if drain.holder and drain not in self._running]
        for (drain, _), holds in zip(idle, self._redis.beats([holder for _, holder in idle]), strict=True):
            if holds is None:
                drain.gone("its claim was adopted")
            elif holds:
                drain.holds = True

    def _find_orphans(self) -> None:
        """Note which writers on our lists show no sign of life, ours aside."""
        for drain, dead in zip(self.drains, self._redis.lapsed([drain.place for drain in self.drains]), strict=True):
            own = drain.holder.writer if drain.holder else None
            self._orphans[drain] = [writer for writer in dead if writer != own]

    def _adopt(self) -> None:
        """Let each drain adopt before its next turn; one that is never idle between two looks adopts all the same."""
        for drain, dead in list(self._orphans.items()):
            if dead and drain not in self._running:
                self._orphans[drain] = []
                self._running[drain] = self._pool.submit(self._adopt_all, drain, dead)

    def _adopt_all(self, drain: Drain, dead: list[str]) -> None:
        for writer in dead:
            drain.adopt(writer)
