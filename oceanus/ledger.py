"""The ledger's lines: how many records of a minute, and the sum of their digests. Pure.

Counted by Redis per minute and day: `a` accepted, `s` settled (in its table), `f` failed (BigQuery refused it), and `x`
for beacons that arms rejected, which were never accepted. What is in flight is a - s - f.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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
        minutes[records.minute(record["dt"])].append(records.digest(record["eid"]))
    return [
        Count(minute=minute, kind=kind, records=len(digests), digest=sum(digests))
        for minute, digests in minutes.items()
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

    @property
    def in_flight(self) -> int:
        """Return how many accepted records have come to no end yet."""
        return self.accepted - self.settled - self.failed


_MEMBERS = {
    "a": "accepted",
    "ad": "accepted_digest",
    "s": "settled",
    "sd": "settled_digest",
    "f": "failed",
    "fd": "failed_digest",
}


def totals(fields: Mapping[str, int], width: int) -> dict[str, Totals]:
    """Return the totals in a hash of the ledger, by the first `width` digits of its fields (8: days, 2: minutes)."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for name, value in fields.items():
        member = _MEMBERS.get(name[width:])
        if member and name[:width].isdigit():
            found[name[:width]][member] = value
    return {bucket: Totals(**members) for bucket, members in found.items()}
