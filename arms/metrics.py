"""What arms counts, in Prometheus' conventions; `site` is the only label that grows, and only with sites.yaml."""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

from oceanus.errors import SpoolError

BEACONS = Counter(
    "oceanus_arms_beacons_total",
    "Beacons by what became of them: accepted, rejected, dropped (privacy), unavailable (503).",
    ["site", "result"],
)
REJECTED = Counter(
    "oceanus_arms_rejected_beacons_total",
    "Beacons answered 400 or 403, by reason: rules, unreadable, caller (no right or token), origin (not listed).",
    ["site", "reason"],
)
LAST = Gauge(
    "oceanus_arms_last_beacon_timestamp_seconds",
    "When the last accepted beacon was received; after a start, what Redis has noted.",
    ["site"],
    multiprocess_mode="max",
)
LIMITED = Counter(
    "oceanus_arms_limited_beacons_total",
    "Beacons answered 429, by limit: address (RATE_PER_ADDRESS), day (daily_cap).",
    ["site", "limit"],
)
FAILED = Counter(
    "oceanus_arms_failed_records_total",
    "Failed records by how they are kept: whole, counted (those beyond FAILED_PER_MINUTE, a record a minute).",
    ["site", "kept"],
)
PUSH_SECONDS = Histogram(
    "oceanus_arms_push_seconds",
    "Time of one push of all waiting beacons, Redis' fsync included.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
TROUBLES = Counter(
    "oceanus_arms_push_troubles_total",
    "Flights that Redis did not plainly take, by cause; with a journal they are in it.",
    ["cause"],
)
JOURNALLED = Gauge("oceanus_arms_journalled", "Records that wait in the journal.", multiprocess_mode="livesum")
JOURNAL_BYTES = Gauge("oceanus_arms_journal_bytes", "Bytes that wait in the journal.", multiprocess_mode="livesum")
JOURNAL_AGE = Gauge(
    "oceanus_arms_journal_age_seconds", "Age of the oldest record in the journal.", multiprocess_mode="livemax"
)
SHARD_JOURNALLED = Gauge(
    "oceanus_arms_shard_journalled",
    "Of the records that wait in the journal, those for a Redis of REDIS_SHARDS.",
    ["redis"],
    multiprocess_mode="livesum",
)
HELD = Gauge("oceanus_arms_gaze_held", "Connections that /gaze holds open.", multiprocess_mode="livesum")
CLOSED = Counter(
    "oceanus_arms_closed_connections_total",
    "Connections closed by us: time (too slow), room (MAX_CONNECTIONS).",
    ["reason"],
)

_JOURNALS: dict[str, tuple[int, int, float]] = {}


def journal(redis: str, records: int, size: int, age_seconds: float) -> None:
    """Note what waits in the journal of one Redis; the gauges have those of all."""
    _JOURNALS[redis] = records, size, age_seconds
    every = _JOURNALS.values()
    JOURNALLED.set(sum(one[0] for one in every))
    JOURNAL_BYTES.set(sum(one[1] for one in every))
    JOURNAL_AGE.set(max(one[2] for one in every))
    if redis:
        SHARD_JOURNALLED.labels(redis).set(records)


def begin(sites: Iterable[str]) -> None:
    """Begin what is warned of at 0: a counter that comes with its first failure has not grown, for Prometheus."""
    for site in sites:
        for result in ("accepted", "rejected", "unavailable"):
            BEACONS.labels(site, result)


def trouble(error: SpoolError) -> None:
    """Count a flight that Redis did not plainly take, by the class of the error."""
    TROUBLES.labels(type(error).__name__.removesuffix("Error")).inc()
