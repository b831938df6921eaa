"""What revelation counts, in Prometheus' conventions."""

from prometheus_client import Counter, Gauge, Histogram

from oceanus.errors import TryAgainError

SEEN = Counter("oceanus_alerts_seen_total", "Records that were looked at.", ["site"])
DROPPED = Counter("oceanus_alerts_dropped_total", "Records that a full list dropped before they were seen.", ["site"])
MATCHES = Counter("oceanus_alerts_matches_total", "Records that a rule tells of.", ["rule"])
HELD = Counter("oceanus_alerts_held_total", "Matches that a limit held back, told in a digest.", ["rule"])
TOLD = Counter("oceanus_alerts_told_total", "Messages delivered.", ["destination"])
TRIES = Counter(
    "oceanus_alerts_retries_total",
    "Deliveries that are tried again, by cause: asked (the place said later), unclear (no answer), trouble.",
    ["destination", "cause"],
)
FAILED = Counter("oceanus_alerts_failed_total", "Messages that could not be delivered.", ["destination"])
WAITING = Gauge("oceanus_alerts_waiting_records", "Records that wait to be looked at.", ["site"])
DELAY = Histogram(
    "oceanus_alerts_delay_seconds",
    "From the receive time of a record to the delivery of its message.",
    ["destination"],
    buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60, 600, 3600),
)


def retried(destination: str, error: TryAgainError) -> None:
    """Count a delivery that is tried again, by its cause."""
    TRIES.labels(destination, "asked" if error.seconds else "unclear" if error.unclear else "trouble").inc()
