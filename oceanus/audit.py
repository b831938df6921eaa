"""The audit: does every accepted beacon stand in its table exactly once? Pure.

Redis counts what was accepted, settled, failed and repeated, by minute and with a digest (the sum of the ids' last 32
bits). BigQuery counts what stands there. A minute is judged only if its counts stood still while BigQuery was asked and
nothing of it is in flight; then rows and digest must be the ledger's. What is in flight must lie in lists and claims,
so that a loss inside Redis shows too. Minutes of before this Redis' epoch can be proven right, but never wrong.
"""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from oceanus import records
from oceanus.ledger import Epoch, Landed, Ledger, Totals, added, is_day
from oceanus.tables import REMOVED

NOTHING = Landed(0, 0, 0)
COUNTS = ("accepted", "landed", "failed", "repeated", "waiting", "missing", "doubled", "lost", "foreign", "expired")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is known of one minute (YYYYMMDDHHMM) or day (YYYYMMDD); `verdict` is one of oceanus.tables.VERDICTS."""

    bucket: str
    verdict: str
    counted: Totals
    landed: Landed

    @property
    def missing(self) -> int:
        """Return how many settled records do not stand in the table: at least one where others stand for them."""
        if self.verdict != "differs":
            return 0
        others = self.landed.rows == self.landed.ids == self.counted.settled and self.counted.in_flight == 0
        return max(self.counted.settled - self.landed.ids, int(others))

    @property
    def doubled(self) -> int:
        """Return how many rows stand there more than once, or without having been accepted."""
        if self.verdict != "differs":
            return 0
        unknown = max(0, self.landed.ids - self.counted.settled) + max(0, -self.counted.in_flight)
        return self.landed.rows - self.landed.ids + unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteAudit:
    """One site: its counts, and the verdicts by which they were judged.

    `foreign` rows are none of ours; `expired` counts records whose day the table keeps no more; `lost` are records that
    are in flight, but nowhere in Redis; `troubles` say why something could not be judged.
    """

    accepted: int = 0
    landed: int = 0
    failed: int = 0
    repeated: int = 0
    waiting: int = 0
    missing: int = 0
    doubled: int = 0
    foreign: int = 0
    expired: int = 0
    lost: int = 0
    verdicts: list[Verdict] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        """Say whether something is missing or doubled."""
        return bool(self.missing or self.doubled)


@dataclass(frozen=True, slots=True)
class Alarm:
    """What no count can show, until a person acknowledges it: a sentence, and the name and value it has in Redis.

    `redis` is the name of that Redis; `is_removed`: it is not configured any more.
    """

    sentence: str
    name: str = ""
    value: str = ""
    redis: str = ""
    is_removed: bool = False


def judge(
    before: Ledger, after: Ledger, landed: Mapping[str, Landed], asked: Container[str], last_expired: str = ""
) -> SiteAudit:
    """Judge a site by its ledger before and after BigQuery was asked, and by what stands there by minute.

    Only the days `asked` are judged, and those up to `last_expired`, which the table keeps no more, are not asked for.
    """
    verdicts = list(_verdicts(before, after, landed, asked, last_expired))
    lost = 0 if after.damaged else max(0, after.whole.in_flight - after.waiting)
    return SiteAudit(
        accepted=after.whole.accepted,
        landed=sum(minute.ids for name, minute in landed.items() if name),
        failed=after.whole.failed,
        repeated=after.whole.repeated,
        waiting=after.whole.in_flight,
        missing=lost + sum(one.missing for one in verdicts),
        doubled=sum(one.doubled for one in verdicts),
        foreign=landed.get("", NOTHING).rows,
        expired=sum(one.counted.settled for one in verdicts if one.verdict == "expired"),
        lost=lost,
        verdicts=verdicts,
        troubles=[f"{why}: {day or 'the site'} cannot be judged" for day, why in sorted(after.damaged.items())],
    )


def total(every: Iterable[SiteAudit]) -> SiteAudit:
    """Return all sites together."""
    audits = list(every)
    return SiteAudit(**{name: sum(getattr(one, name) for one in audits) for name in COUNTS})


def alarms(raised: Mapping[str, str], epoch_ms: int | None, known: tuple[str | None] | None) -> list[Alarm]:
    """Return the alarms of a Redis: gaps it has noted, and an epoch that is not the one acknowledged last.

    `known` is that epoch. Where none was ever acknowledged, or a Redis that had none yet, any epoch is right.
    """
    found = [Alarm(_gap(name, value), name, value) for name, value in raised.items()]
    epoch = epoch_text(epoch_ms)
    if known and known[0] is not None and epoch != known[0]:
        since = f"counts since {epoch}" if epoch else "has counted nothing yet"
        found.append(
            Alarm(
                f"a new Redis: it {since}; the one that was acknowledged has counted since {known[0]}. That one was"
                f" emptied or replaced: what lay in it may be lost, and minutes before the new one's first push are not"
                f" judged"
            )
        )
    return found


def removed(name: str) -> Alarm:
    """Return the alarm of a Redis that is not configured any more."""
    return Alarm(
        f"{name} is not configured any more: nobody drains what lies in it, and what it has counted is not known here."
        f" Name it in REDIS_SHARDS again or, if nothing lay in it, acknowledge: minutes before that are not judged",
        redis=name,
        is_removed=True,
    )


def broken_ms(known: Iterable[Epoch], now: Mapping[str, int | None]) -> int:
    """Return since when no Redis was replaced or taken away, in milliseconds since 1970; 0 if none ever was.

    `known` is what was acknowledged, the oldest first, `now` each one's epoch.
    """
    last: dict[str, str | None] = {}
    breaks = [0]
    for one in known:
        if one.redis in last and (one.is_removed or one.epoch != last[one.redis]):
            breaks.append(one.at_ms)
        last[one.redis] = one.epoch
    breaks += [ms for name, ms in now.items() if ms and last.get(name) is not None and last[name] != epoch_text(ms)]
    return max(breaks)


def epoch_text(epoch_ms: int | None) -> str | None:
    """Return an epoch as the table `audit` holds it."""
    return None if epoch_ms is None else records.time_text(epoch_ms * 1000)


def rows(name: str, audit: SiteAudit, now_us: int, epoch_ms: int | None) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table `audit` for a site; of days that are expired there is nothing to tell."""
    base = {"dt": now_us, "site": name, "epoch": epoch_text(epoch_ms)}
    for one in audit.verdicts:
        if one.verdict == "expired" or not is_day(one.bucket[:8]):
            continue
        yield base | {
            "bucket": _micros(one.bucket),
            "span": "minute" if len(one.bucket) == 12 else "day",
            "verdict": one.verdict,
            "accepted": one.counted.accepted,
            "settled": one.counted.settled,
            "failed": one.counted.failed,
            "repeated": one.counted.repeated,
            "in_flight": one.counted.in_flight,
            "rows": one.landed.rows,
            "missing": one.missing,
            "doubled": one.doubled,
            "eid": records.mint(now_us),
        }
    if audit.lost:
        lost = {"accepted": audit.accepted, "in_flight": audit.waiting, "missing": audit.lost, "doubled": 0}
        yield base | {"bucket": now_us, "span": "site", "verdict": "differs", "eid": records.mint(now_us)} | lost


def epoch_row(now_us: int, epoch_ms: int | None, redis: str = "", *, is_removed: bool = False) -> dict[str, Any]:
    """Return the row of the table `audit` by which a Redis' epoch is acknowledged; None: whatever comes next."""
    row = {"dt": now_us, "site": redis, "bucket": now_us if epoch_ms is None else epoch_ms * 1000, "span": "epoch"}
    row |= {"verdict": REMOVED if is_removed else "acknowledged", "eid": records.mint(now_us)}
    return row if epoch_ms is None else row | {"epoch": epoch_text(epoch_ms)}


def _verdicts(
    before: Ledger, after: Ledger, landed: Mapping[str, Landed], asked: Container[str], last_expired: str
) -> Iterator[Verdict]:
    minutes, stands = _by_day(after.minutes), _by_day(landed)
    epoch = "" if after.epoch_ms is None else records.minute(records.time_text(after.epoch_ms * 1000))
    for day, counted in sorted(after.days.items()):
        if day not in asked:
            continue
        if day in after.damaged:
            yield Verdict(bucket=day, verdict="damaged", counted=counted, landed=NOTHING)
        elif day <= last_expired:
            yield Verdict(bucket=day, verdict="expired", counted=counted, landed=NOTHING)
        elif added(minutes[day].values()) == counted:
            yield from _by_minute(day, counted, before, minutes[day], stands[day], epoch)
        else:  # minutes are forgotten after some days, and a late record brings back but a part of them
            yield _verdict(day, before.days.get(day), counted, _added(stands[day].values()), epoch)


def _by_minute(
    day: str,
    counted: Totals,
    before: Ledger,
    minutes: Mapping[str, Totals],
    stands: Mapping[str, Landed],
    epoch: str,
) -> Iterator[Verdict]:
    """Yield one verdict for a day whose minutes all agree; else one that says so, and those of the other minutes."""
    each = [
        _verdict(
            name,
            before.minutes.get(name, Totals()),
            minutes.get(name, Totals()),
            stands.get(name, NOTHING),
            epoch,
        )
        for name in sorted(minutes.keys() | stands.keys())
    ]
    others = [one for one in each if one.verdict != "agrees"]
    verdict = "partly" if others else "agrees"
    yield Verdict(bucket=day, verdict=verdict, counted=counted, landed=_added(stands.values()))
    yield from others


def _verdict(bucket: str, before: Totals | None, after: Totals, landed: Landed, epoch: str) -> Verdict:
    right = after.is_ended and landed.rows == landed.ids == after.settled and landed.digest == after.settled_digest
    if before != after or after.in_flight > 0:
        verdict = "open"
    elif right:
        verdict = "agrees"
    else:
        verdict = "before epoch" if _is_earlier(bucket, epoch, after, landed) else "differs"
    return Verdict(bucket=bucket, verdict=verdict, counted=after, landed=landed)


def _is_earlier(bucket: str, epoch: str, counted: Totals, landed: Landed) -> bool:
    """Say whether an older Redis may have counted what this one has not: of its own minute only rows more than ours."""
    if bucket == epoch:
        return counted.is_ended and landed.rows == landed.ids > counted.settled
    return bucket < epoch if len(bucket) == len(epoch) else bucket <= epoch[: len(bucket)]


def _by_day[T](minutes: Mapping[str, T]) -> dict[str, dict[str, T]]:
    days: dict[str, dict[str, T]] = defaultdict(dict)
    for name, one in minutes.items():
        days[name[:8]][name] = one
    return days


def _added(every: Iterable[Landed]) -> Landed:
    several = list(every)
    return Landed(*(sum(getattr(one, name) for one in several) for name in ("rows", "ids", "digest")))


def _gap(name: str, value: str) -> str:
    site = name.removeprefix("gap:")
    when = records.time_text(int(value) * 1000) if value.isascii() and value.isdigit() else value
    return (
        f"{site}: Redis had forgotten pushes that it had acknowledged (GAP, seen with a beacon of {when}): what they"
        f" held may be lost, and no count knows of it"
    )


def _micros(bucket: str) -> int:
    parsed = datetime.strptime(bucket, "%Y%m%d%H%M" if len(bucket) == 12 else "%Y%m%d").replace(tzinfo=UTC)
    return int(parsed.timestamp()) * 1_000_000
