"""The ledger's lines: how many records of a minute, and the sum of their digests. Pure.

Counted by Redis per minute and day: `a` accepted, `s` settled (in its table), `f` failed (BigQuery refused it), and `x`
for beacons that arms rejected, which were never accepted. What is in flight is a - s - f.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from oceanus import records
from oceanus.records import Record

ACCEPTED, SETTLED, FAILED, REJECTED = "a", "s", "f", "x"


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
