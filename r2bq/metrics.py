"""What r2bq counts, in Prometheus' conventions."""

import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

ROWS = Counter("oceanus_r2bq_rows_written_total", "Rows written to BigQuery.", ["site", "list"])
FAILED = Counter("oceanus_r2bq_rows_failed_total", "Rows that became failed records.", ["site"])
REPEATED = Counter("oceanus_r2bq_rows_repeated_total", "Resends that had landed before.", ["site"])
ASIDE = Counter("oceanus_r2bq_rows_aside_total", "Rows that stepped aside because their table is in trouble.", ["site"])
RECOVERED = Counter("oceanus_r2bq_rows_recovered_total", "Rows of claims that were recovered or adopted.", ["site"])
TROUBLES = Counter(
    "oceanus_r2bq_troubles_total", "Steps that ended in trouble and are repeated, by cause.", ["site", "cause"]
)
APPEND_SECONDS = Histogram("oceanus_r2bq_append_seconds", "Time of one append.", ["site"])
QUEUE = Gauge("oceanus_r2bq_queue_records", "Records that wait in a list.", ["site", "list"])
QUEUE_AGE = Gauge(
    "oceanus_r2bq_queue_age_seconds",
    "How long the oldest record of a list has waited; 0: none does.",
    ["site", "list"],
)


class Freshness(Collector):
    """A histogram of how long it took from the receive time of each record to the moment that it is written.

    The library's own takes one record at a time, which would be a tenth of all work on a row.
    """

    ENDS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)  # seconds

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._within: dict[str, list[int]] = {}
        self._sums: dict[str, float] = defaultdict(float)

    def observe(self, site: str, received_us: Sequence[int], now_us: int) -> None:
        """Count records that are written now."""
        waited_us = sorted(max(0, now_us - one) for one in received_us)
        within = [bisect_right(waited_us, end * 1e6) for end in self.ENDS]
        with self._lock:
            before = self._within.get(site, [0] * (len(within) + 1))
            self._within[site] = [sum(pair) for pair in zip(before, [*within, len(waited_us)], strict=True)]
            self._sums[site] += sum(waited_us) / 1e6

    def collect(self) -> Iterator[Metric]:
        """Yield the histogram, as the registry asks for it."""
        family = HistogramMetricFamily(
            "oceanus_r2bq_freshness_seconds",
            "From the receive time of a record to the moment it is written.",
            labels=["site"],
        )
        names = [*map(floatToGoString, self.ENDS), "+Inf"]
        with self._lock:
            for site, within in self._within.items():
                family.add_metric([site], list(zip(names, within, strict=True)), self._sums[site])
        yield family


FRESHNESS = Freshness()
REGISTRY.register(FRESHNESS)

_WAITING: dict[tuple[str, str], dict[str, tuple[int, float]]] = defaultdict(dict)


def waits(redis: str, place: tuple[str, str], length: int, age_seconds: float) -> None:
    """Note what waits in a list in one Redis: how many records, the oldest for how long; the gauges have all Redis."""
    _WAITING[place][redis] = length, age_seconds
    every = list(_WAITING[place].values())
    QUEUE.labels(*place).set(sum(one for one, _ in every))
    QUEUE_AGE.labels(*place).set(max(one for _, one in every))


def written(site: str, source: str, received_us: Sequence[int], now_us: int) -> None:
    """Count rows that are written, and how fresh they are."""
    if source != "failed":
        FRESHNESS.observe(site, received_us, now_us)
    ROWS.labels(site, source).inc(len(received_us))
