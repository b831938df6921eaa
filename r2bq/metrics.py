"""What r2bq counts, in Prometheus' conventions."""

import time
from collections import defaultdict
from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

from oceanus import records
from oceanus.records import Record

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
FRESHNESS = Histogram(
    "oceanus_r2bq_freshness_seconds",
    "From the receive time of a record to the moment it is written.",
    ["site"],
    buckets=(0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300, 3600),
)


_WAITING: dict[tuple[str, str], dict[str, tuple[int, float]]] = defaultdict(dict)


def waits(redis: str, place: tuple[str, str], length: int, age_seconds: float) -> None:
    """Note what waits in a list in one Redis: how many records, the oldest for how long; the gauges have all Redis."""
    _WAITING[place][redis] = length, age_seconds
    every = list(_WAITING[place].values())
    QUEUE.labels(*place).set(sum(one for one, _ in every))
    QUEUE_AGE.labels(*place).set(max(one for _, one in every))


def written(site: str, source: str, rows: Iterable[Record], key: str) -> None:
    """Count rows that are written, and how fresh they are."""
    now_us = time.time_ns() // 1000
    count = 0
    for record in rows:
        count += 1
        if source != "failed":
            FRESHNESS.labels(site).observe(max(0, now_us - records.received(record, key)) / 1e6)
    ROWS.labels(site, source).inc(count)
