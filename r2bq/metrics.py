"""What r2bq counts, in Prometheus' conventions."""

import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from oceanus.spool import Memory

GOAL_SECONDS = 10.0  # 99 % of records are rows within it: docs/runbook/freshness-burn.md

ROWS = Counter("oceanus_r2bq_rows_written_total", "Rows written to BigQuery.", ["site", "list"])
BYTES = Counter(
    "oceanus_r2bq_bytes_written_total", "Bytes of the records whose rows were written, as they lay in Redis.", ["site"]
)
FAILED = Counter(
    "oceanus_r2bq_rows_failed_total",
    "Rows that became failed records, by reason: refused (by BigQuery), unreadable (no record), deadly (to writers).",
    ["site", "reason"],
)
LATE = Counter("oceanus_r2bq_rows_late_total", "Rows written more than 10 s after their receipt.", ["site"])
REPEATED = Counter("oceanus_r2bq_rows_repeated_total", "Resends that had landed before.", ["site"])
ASIDE = Counter("oceanus_r2bq_rows_aside_total", "Rows that stepped aside because their table is in trouble.", ["site"])
RECOVERED = Counter("oceanus_r2bq_rows_recovered_total", "Rows of claims that were recovered or adopted.", ["site"])
TROUBLES = Counter(
    "oceanus_r2bq_troubles_total", "Steps that ended in trouble and are repeated, by cause.", ["site", "cause"]
)
APPEND_SECONDS = Histogram("oceanus_r2bq_append_seconds", "Time of one append.")
QUEUE = Gauge(
    "oceanus_r2bq_queue_records",
    "Records that wait in a list; other lists than the queue once they held some.",
    ["site", "list"],
)
QUEUE_AGE = Gauge(
    "oceanus_r2bq_queue_age_seconds",
    "How long the oldest record of a list has waited; 0: none does.",
    ["site", "list"],
)


class Freshness(Collector):
    """A histogram of how long it took from the receive time of each record to the moment that it is written.

    The library's own takes one record at a time, which would be a tenth of all work on a row. It is that of all sites,
    for twelve numbers of each would be most of all that is scraped; of a site LATE is told.
    """

    ENDS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, GOAL_SECONDS, 30.0, 60.0, 300.0, 3600.0)  # seconds

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._within = [0] * (len(self.ENDS) + 1)
        self._sum = 0.0

    def observe(self, received_us: Sequence[int], now_us: int) -> int:
        """Count records that are written now, and return how many are later than the goal."""
        waited_us = sorted(max(0, now_us - one) for one in received_us)
        within = [*(bisect_right(waited_us, end * 1e6) for end in self.ENDS), len(waited_us)]
        with self._lock:
            self._within = [sum(pair) for pair in zip(self._within, within, strict=True)]
            self._sum += sum(waited_us) / 1e6
        return len(waited_us) - within[self.ENDS.index(GOAL_SECONDS)]

    def collect(self) -> Iterator[Metric]:
        """Yield the histogram, as the registry asks for it."""
        family = HistogramMetricFamily(
            "oceanus_r2bq_freshness_seconds",
            "From the receive time of a record to the moment it is written.",
        )
        names = [*map(floatToGoString, self.ENDS), "+Inf"]
        with self._lock:
            family.add_metric([], list(zip(names, self._within, strict=True)), self._sum)
        yield family


class Held(Protocol):
    """What may hold a claim."""

    @property
    def place(self) -> tuple[str, str]:
        """Return site and list."""

    @property
    def held_seconds(self) -> float | None:
        """Return for how long it has held a claim; None if it holds none."""


class Claims(Collector):
    """For how long the claims in hand have been held: of each list the oldest, and none for one without."""

    def __init__(self, every: Iterable[Held]) -> None:
        self._every = tuple(every)

    def collect(self) -> Iterator[Metric]:
        """Yield the ages, as the registry asks for them."""
        ages: dict[tuple[str, str], float] = {}
        for one in self._every:
            seconds = one.held_seconds
            if seconds is not None:
                ages[one.place] = max(seconds, ages.get(one.place, 0.0))
        family = GaugeMetricFamily(
            "oceanus_r2bq_claim_age_seconds",
            "How long this process has held a claim, from its first row to its settling; only lists with one.",
            labels=["site", "list"],
        )
        for place, seconds in ages.items():
            family.add_metric(place, seconds)
        yield family


FRESHNESS = Freshness()
REGISTRY.register(FRESHNESS)

MEMORY = Gauge("oceanus_redis_memory_bytes", "Memory that a Redis has in use.", ["redis"])
MEMORY_LIMIT = Gauge("oceanus_redis_memory_limit_bytes", "Its ceiling, maxmemory; 0: none.", ["redis"])

_WAITING: dict[tuple[str, str], dict[str, tuple[int, float]]] = defaultdict(dict)


def waits(redis: str, place: tuple[str, str], length: int, age_seconds: float) -> None:
    """Note what waits in a list in one Redis: how many records, the oldest for how long; the gauges have all Redis."""
    if not length and place[1] != "queue" and place not in _WAITING:
        return  # most sites never have any there: three of four numbers would be 0 for ever
    _WAITING[place][redis] = length, age_seconds
    every = list(_WAITING[place].values())
    QUEUE.labels(*place).set(sum(one for one, _ in every))
    QUEUE_AGE.labels(*place).set(max(one for _, one in every))


def written(site: str, source: str, received_us: Sequence[int], size: int, now_us: int) -> None:
    """Count rows that are written, the bytes of their records, and how fresh they are."""
    if source != "failed":
        LATE.labels(site).inc(FRESHNESS.observe(received_us, now_us))
    ROWS.labels(site, source).inc(len(received_us))
    BYTES.labels(site).inc(size)


def begin(sites: Iterable[str]) -> None:
    """Begin what is warned of at 0: a counter that comes with its first failure has not grown, for Prometheus."""
    for site in sites:
        FAILED.labels(site, "refused")


def weighed(redis: str, found: Memory) -> None:
    """Note what a Redis has in use."""
    MEMORY.labels(redis or "default").set(found.used_bytes)
    MEMORY_LIMIT.labels(redis or "default").set(found.most_bytes)
