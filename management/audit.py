"""The audit: does every accepted beacon stand in its table exactly once? Pure but for `show`.

Redis counts what was accepted, settled and failed, by minute and with a digest (the sum of the ids' last 32 bits).
BigQuery counts what stands there. A minute is judged only if its counts stood still while BigQuery was asked and
nothing of it is in flight; then rows and digest must be the ledger's. What is in flight must lie in queue and claims,
so that a loss inside Redis shows too. Minutes of before this Redis' epoch can be proven right, but never wrong.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, TextIO

from management import grid
from oceanus import records
from oceanus.ledger import Totals
from oceanus.spool import Ledger
from oceanus.warehouse import Landed

NOTHING = Landed(0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is known of one minute (YYYYMMDDHHMM) or day (YYYYMMDD): agrees, open, differs, or before epoch."""

    bucket: str
    verdict: str
    counted: Totals
    landed: Landed

    @property
    def missing(self) -> int:
        """Return how many settled records do not stand in the table."""
        if self.verdict != "differs":
            return 0
        fewer = self.counted.settled - self.landed.ids
        return max(fewer, 1 if self.landed.rows == self.landed.ids == self.counted.settled else 0)

    @property
    def doubled(self) -> int:
        """Return how many rows stand there more than once, or without having been accepted."""
        if self.verdict != "differs":
            return 0
        return self.landed.rows - self.landed.ids + max(0, self.landed.ids - self.counted.settled)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteAudit:
    """One site: its counts, and the verdicts by which they were judged."""

    accepted: int = 0
    landed: int = 0
    failed: int = 0
    waiting: int = 0
    missing: int = 0
    doubled: int = 0
    foreign: int = 0
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        """Say whether something is missing or doubled."""
        return bool(self.missing or self.doubled)


def judge(before: Ledger, after: Ledger, landed: Mapping[str, Landed]) -> SiteAudit:
    """Judge a site by its ledger before and after BigQuery was asked, and by what stands there by minute."""
    verdicts = list(_verdicts(before, after, landed))
    days = after.days.values()
    in_flight = sum(day.in_flight for day in days)
    stood_still = before.days == after.days
    lost = max(0, in_flight - after.waiting) if stood_still else 0
    return SiteAudit(
        accepted=sum(day.accepted for day in days),
        landed=sum(minute.ids for name, minute in landed.items() if name),
        failed=sum(day.failed for day in days),
        waiting=in_flight,
        missing=lost + sum(one.missing for one in verdicts),
        doubled=sum(one.doubled for one in verdicts),
        foreign=landed.get("", NOTHING).rows,
        verdicts=verdicts,
    )


def total(every: Iterable[SiteAudit]) -> SiteAudit:
    """Return all sites together."""
    audits = list(every)
    names = ("accepted", "landed", "failed", "waiting", "missing", "doubled", "foreign")
    return SiteAudit(**{name: sum(getattr(one, name) for one in audits) for name in names})


def rows(name: str, audit: SiteAudit, now_us: int, epoch_ms: int | None) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table `audit` for a site."""
    epoch = None if epoch_ms is None else records.time_text(epoch_ms * 1000)
    for one in audit.verdicts:
        yield {
            "dt": now_us,
            "site": name,
            "bucket": _micros(one.bucket),
            "span": "minute" if len(one.bucket) == 12 else "day",
            "verdict": one.verdict,
            "accepted": one.counted.accepted,
            "settled": one.counted.settled,
            "failed": one.counted.failed,
            "in_flight": one.counted.in_flight,
            "rows": one.landed.rows,
            "missing": one.missing,
            "doubled": one.doubled,
            "epoch": epoch,
            "eid": records.mint(now_us),
        }


def show(audits: Mapping[str, SiteAudit], form: str, out: TextIO) -> None:
    """Print the audit as a table with the buckets that differ, or as JSON."""
    whole = total(audits.values())
    if form == "json":
        told = {"sites": {name: _told(one) for name, one in audits.items()}, "total": _told(whole)}
        print(json.dumps(told, indent=2), file=out)
        return
    names = ("accepted", "landed", "failed", "waiting", "missing", "doubled")
    lines = [
        [name, *(str(getattr(one, member)) for member in names)] for name, one in (*audits.items(), ("total", whole))
    ]
    for line in grid.plain(("site", *names), lines, [False, *[True] * len(names)]):
        print(line, file=out)
    for name, one in audits.items():
        for verdict in one.verdicts:
            if verdict.verdict == "differs":
                print(f"{name} {verdict.bucket}: {_sentence(verdict)}", file=out)
    print(f"audit: {'differs' if whole.differs else 'agrees'}", file=out)


def _verdicts(before: Ledger, after: Ledger, landed: Mapping[str, Landed]) -> Iterator[Verdict]:
    """Yield a verdict for each day that agrees as a whole, and for each minute of the others that are still known."""
    epoch = "" if after.epoch_ms is None else records.minute(records.time_text(after.epoch_ms * 1000))
    for day, counted in sorted(after.days.items()):
        whole = _verdict(day, before.days.get(day), counted, _of_day(day, landed), epoch)
        minutes = {name: one for name, one in after.minutes.items() if name.startswith(day)}
        if whole.verdict == "agrees" or sum(one.accepted for one in minutes.values()) != counted.accepted:
            yield whole
            continue
        for name in sorted(minutes.keys() | {name for name in landed if name.startswith(day)}):
            now = minutes.get(name, Totals())
            yield _verdict(name, before.minutes.get(name, Totals()), now, landed.get(name, NOTHING), epoch)


def _verdict(bucket: str, before: Totals | None, after: Totals, landed: Landed, epoch: str) -> Verdict:
    ended = after.accepted_digest == after.settled_digest + after.failed_digest
    right = ended and landed.rows == landed.ids == after.settled and landed.digest == after.settled_digest
    if before != after or after.in_flight:
        verdict = "open"
    elif right:
        verdict = "agrees"
    else:
        # of the epoch's own day an older Redis may have counted a part; in its own minute it would be an alarm
        earlier = bucket < epoch if len(bucket) == len(epoch) else bucket <= epoch[: len(bucket)]
        verdict = "before epoch" if earlier else "differs"
    return Verdict(bucket=bucket, verdict=verdict, counted=after, landed=landed)


def _of_day(day: str, landed: Mapping[str, Landed]) -> Landed:
    found = [one for name, one in landed.items() if name.startswith(day)]
    return Landed(sum(one.rows for one in found), sum(one.ids for one in found), sum(one.digest for one in found))


def _told(one: SiteAudit) -> dict[str, Any]:
    told = asdict(one) | {"differs": [asdict(verdict) for verdict in one.verdicts if verdict.verdict == "differs"]}
    told["open"] = [verdict.bucket for verdict in one.verdicts if verdict.verdict == "open"]
    del told["verdicts"]
    return told


def _sentence(one: Verdict) -> str:
    return (
        f"{one.counted.settled} settled, {one.landed.rows} rows of {one.landed.ids} ids:"
        f" {one.missing} missing, {one.doubled} doubled"
    )


def _micros(bucket: str) -> int:
    parsed = datetime.strptime(bucket, "%Y%m%d%H%M" if len(bucket) == 12 else "%Y%m%d").replace(tzinfo=UTC)
    return int(parsed.timestamp()) * 1_000_000
