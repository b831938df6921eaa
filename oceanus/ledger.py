"""The ledger: how many records of a minute there are, and the sum of their digests, in Redis and in BigQuery. Pure.

Counted by Redis per minute and day: `a` accepted, `s` settled (in its table), `f` failed (BigQuery refused it), `r`
repeated (a resend of what had landed already), and `x` for beacons that arms rejected, which were never accepted. What
is in flight is a - s - f - r.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date

from oceanus import records
from oceanus.records import Record

ACCEPTED, SETTLED, FAILED, REPEATED, REJECTED = "a", "s", "f", "r", "x"


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """One line: `minute` as YYYYMMDDHHMM, `digest` the sum of the records' digests."""

    minute: str
    kind: str
    records: int
    digest: int

    def line(self) -> list[str | int]:
        """Return the line as the scripts take it."""
        return [self.minute, self.kind, self.records, self.digest]


def counts(kind: str, counted: Iterable[Record]) -> list[Count]:
    """Return a line for each minute of these records."""
    minutes: dict[str, list[int]] = defaultdict(list)
    for record in counted:
        minutes[record["dt"][:16]].append(records.digest(record["eid"]))
    return [
        Count(minute=records.minute(text), kind=kind, records=len(digests), digest=sum(digests))
        for text, digests in minutes.items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What the ledger says of one minute or day: how many, and the sum of their digests."""

    accepted: int = 0
    accepted_digest: int = 0
    settled: int = 0
    settled_digest: int = 0
    failed: int = 0
    failed_digest: int = 0
    repeated: int = 0
    repeated_digest: int = 0

    @property
    def in_flight(self) -> int:
        """Return how many accepted records have come to no end yet."""
        return self.accepted - self.settled - self.failed - self.repeated

    @property
    def is_ended(self) -> bool:
        """Say whether the accepted records are those that came to an end."""
        ended = self.settled_digest + self.failed_digest + self.repeated_digest
        return self.in_flight == 0 and self.accepted_digest == ended


_MEMBERS = {
    kind + end: member + suffix
    for kind, member in ((ACCEPTED, "accepted"), (SETTLED, "settled"), (FAILED, "failed"), (REPEATED, "repeated"))
    for end, suffix in (("", ""), ("d", "_digest"))
}
KINDS = tuple(_MEMBERS)
_DAYS_FIELD = re.compile(rf"(\d{{8}})(?:{'|'.join(KINDS)})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What this Redis has counted for a site: by day (YYYYMMDD), by minute (YYYYMMDDHHMM), and `whole`, all days.

    `waiting` is how many records lay in its lists and claims at the moment of `whole`. `damaged` says which days cannot
    be read because somebody has written into them, and why; "" is all of them.
    """

    days: dict[str, Totals]
    minutes: dict[str, Totals]
    whole: Totals
    waiting: int
    epoch_ms: int | None
    damaged: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Epoch:
    """That a Redis (by name) counts since `epoch` (text) was acknowledged, or that it is gone; `at_ms`: since when.

    An epoch of None means that a Redis without one was acknowledged: whatever it begins with.
    """

    redis: str
    epoch: str | None
    at_ms: int
    is_removed: bool = False


@dataclass(frozen=True, slots=True)
class Landed:
    """Rows of one minute: how many, how many different ids, and the sum of the ids' digests."""

    rows: int
    ids: int
    digest: int


def totals(numbers: Mapping[str, int], width: int) -> dict[str, Totals]:
    """Return the totals in a hash of the ledger, by the first `width` digits of its fields (8: days, 2: minutes)."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for name, value in numbers.items():
        member = _MEMBERS.get(name[width:])
        if member and name[:width].isdigit():
            found[name[:width]][member] = value
    return {bucket: Totals(**members) for bucket, members in found.items()}


def summed(ledgers: Sequence[Ledger]) -> Ledger:
    """Return the ledgers that several Redis have of one site as one; its epoch is the oldest of those that count it."""
    if len(ledgers) == 1:
        return ledgers[0]
    epochs = [one.epoch_ms for one in ledgers if one.epoch_ms is not None and one.days]
    return Ledger(
        days=_merged(one.days for one in ledgers),
        minutes=_merged(one.minutes for one in ledgers),
        whole=added(one.whole for one in ledgers),
        waiting=sum(one.waiting for one in ledgers),
        epoch_ms=min(epochs, default=ledgers[0].epoch_ms),
        damaged={day: why for one in ledgers for day, why in one.damaged.items()},
    )


def _merged(every: Iterable[Mapping[str, Totals]]) -> dict[str, Totals]:
    buckets: dict[str, list[Totals]] = defaultdict(list)
    for totals_of in every:
        for bucket, one in totals_of.items():
            buckets[bucket].append(one)
    return {bucket: added(several) for bucket, several in buckets.items()}


def day_of(name: str) -> str | None:
    """Return the day that a field of the ledger counts; None for any other field."""
    match = _DAYS_FIELD.fullmatch(name)
    return match and match[1]


def is_day(text: str) -> bool:
    """Say whether a text is a day as YYYYMMDD."""
    try:
        return len(text) == 8 and bool(date(int(text[:4]), int(text[4:6]), int(text[6:])))
    except ValueError:
        return False


def added(every: Iterable[Totals]) -> Totals:
    """Return the sum of totals."""
    several = list(every)
    return Totals(**{one.name: sum(getattr(each, one.name) for each in several) for one in fields(Totals)})
