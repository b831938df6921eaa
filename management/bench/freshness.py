"""`oceanus bench freshness`: a steady rate through arms, Redis, r2bq and a local BigQuery; how soon each row is there.

A record's receive time is the one in its event id. It is written when Redis' ledger counts it as settled, right after
BigQuery has taken it; it is visible when a SELECT that sees it has answered. Records go in the order they came, so that
the n-th is there as soon as n are.
"""

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from management.bench import load
from management.bench.load import Told
from management.bench.local import Local
from management.bench.rig import Rig
from oceanus import sites
from oceanus.ledger import Totals, added, totals
from oceanus.spool import Spool, connect

SITE = "bizocean"
TOLD = "the shipped redis.conf (appendfsync always), the ledger on; arms with one worker, r2bq as in production"
STEP_SECONDS = 0.02
PAUSE_SECONDS = 0.1  # between two SELECTs: they share the local BigQuery's core with what is written
WARM_SECONDS = 3
END_SECONDS = 60.0
PERCENTS = (50, 95, 99)

Tell = Callable[[str, int, int], object]
Series = Sequence[tuple[float, int]]  # a moment, in seconds since 1970, and how many records it is about


@dataclass(frozen=True, slots=True)
class Found:
    """A run: what was sent, when each record was received, how many were written and visible when, how many waited.

    `differences` is empty if each accepted beacon landed once.
    """

    told: Told
    received: Sequence[float]
    written: Series
    visible: Series
    waited: Series
    differences: Sequence[str]

    def report(self) -> dict[str, Any]:
        """Return all numbers, times in milliseconds; what waits was accepted by arms and not yet taken by BigQuery."""
        asked = (self.visible[-1][0] - self.visible[0][0]) / max(1, len(self.visible) - 1)
        return {
            "redis": TOLD,
            "beacons": self.told.requests,
            "beacons_per_second": self.told.a_second,
            **_percentiles("written", self.received, self.written),
            **_percentiles("visible", self.received, self.visible),
            "written_looked_every_ms": STEP_SECONDS * 1000,
            "visible_asked_every_ms": asked * 1000,
            "waiting_most": max(count for _, count in self.waited),
            "waiting_at_the_end": self.waited[-1][1],
            "waiting_most_by_second": self._waiting(),
            "landed_once": not self.differences,
            "differences": list(self.differences),
        }

    def _waiting(self) -> list[int]:
        """Return the most that waited within each second."""
        most: dict[int, int] = {}
        for at, count in self.waited:
            second = int(at - self.waited[0][0])
            most[second] = max(most.get(second, 0), count)
        return list(most.values())


class Bench:
    """All of oceanus that a beacon passes on its way, running."""

    def __init__(self, rig: Rig, tell: Tell) -> None:
        self._tell = tell
        self._spool = Spool(connect(rig.redis()))
        self._local = Local(rig.bigquery(), sites.load(rig.environ["SITES_FILE"])[SITE])
        self._arms = rig.arms()
        rig.r2bq(self._local.where)

    def run(self, rate: float, seconds: int) -> Found:
        """Send `rate` beacons a second for so many seconds, and watch them until all are there.

        Raises TimeoutError where some do not come.
        """
        self._tell("warming up", 0, seconds)
        with ThreadPoolExecutor(1) as pool:
            self._follow(pool.submit(load.paced, self._arms.url, WARM_SECONDS, rate))
        warm = self._counted().settled
        with ThreadPoolExecutor(2) as pool:
            sent = pool.submit(load.paced, self._arms.url, seconds, rate)
            asked = pool.submit(self._ask, sent)
            written, waited = self._follow(sent, lambda passed: self._tell("sending", min(passed, seconds), seconds))
            visible = asked.result()
        told, received = sent.result(), self._local.received()
        return Found(
            told=told,
            received=received[warm:],
            written=[(at, count - warm) for at, count in written],
            visible=[(at, count - warm) for at, count in visible],
            waited=waited,
            # hey may have left some without waiting for their answers
            differences=self._local.differences(self._spool, max(len(received), warm + told.requests)),
        )

    def _follow(self, sent: Future[Told], tell: Callable[[int], object] = lambda _: None) -> tuple[Series, Series]:
        """Return what was settled and what waited, looked at 50 times a second until nothing waits any more."""
        written, waited = list[tuple[float, int]](), list[tuple[float, int]]()
        for at in _moments(STEP_SECONDS, sent):
            is_last, counted = sent.done(), self._counted()
            written.append((at, counted.settled))
            waited.append((at, counted.in_flight))
            tell(int(at - written[0][0]))
            if is_last and not counted.in_flight:
                break
        return written, waited

    def _ask(self, sent: Future[Told]) -> Series:
        """Return how many rows a SELECT has seen, asked again and again until it sees all."""
        seen = list[tuple[float, int]]()
        for _ in _moments(PAUSE_SECONDS, sent):
            is_last, accepted = sent.done(), self._counted().accepted
            count = self._local.count()
            seen.append((time.time(), count))
            if is_last and count >= accepted:
                break
        return seen

    def _counted(self) -> Totals:
        return added(totals(self._spool.look(SITE).ledger, 8).values())


def _moments(step_seconds: float, sent: Future[Told]) -> Iterator[float]:
    """Yield the time, in seconds since 1970, with a pause between; raises TimeoutError a minute after all was sent."""
    ends = math.inf
    while time.monotonic() < ends:
        yield time.time()
        time.sleep(step_seconds)  # Redis and BigQuery can only be asked again
        if sent.done():
            ends = min(ends, time.monotonic() + END_SECONDS)
    raise TimeoutError(f"not all is there after {END_SECONDS:g} s")


def _percentiles(what: str, received: Sequence[float], there: Series) -> dict[str, float]:
    """Return in how many milliseconds so many percent of the records were there; the n-th is as soon as n are."""
    counts = [count for _, count in there]
    took = sorted(there[bisect_left(counts, number)][0] - at for number, at in enumerate(received, 1))
    return {
        f"{what}_p{percent}_ms": 1000 * took[min(len(took) - 1, len(took) * percent // 100)] for percent in PERCENTS
    }
