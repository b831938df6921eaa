"""The status: per site what waits, what has landed and when something last came. Reads Redis and arms only."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TextIO

import httpx
from prometheus_client.parser import text_string_to_metric_families

from management import grid
from management.wording import age, counted
from oceanus import records
from oceanus.alerts import Alerts
from oceanus.errors import NotARecordError
from oceanus.shards import Spools
from oceanus.sites import Site
from oceanus.spool import Look

_SETTLED = re.compile(r"\d{8}s")
_FAILED = re.compile(r"\d{8}[fx]")  # x: rejected by the rules at arms; f: refused by BigQuery
_JOURNALLED = "oceanus_arms_journalled"
_JOURNAL_BYTES = "oceanus_arms_journal_bytes"
_JOURNAL_AGE = "oceanus_arms_journal_age_seconds"

LEGEND = """\b
Columns:
site     name in sites.yaml
queue    records that wait in Redis for r2bq
claimed  records that r2bq is writing to BigQuery now
failed   rejected by arms or refused by BigQuery, since Redis began counting
oldest   age of the oldest record that waits
landed   rows written to BigQuery since Redis began counting
last     age of the newest beacon
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteStatus:
    """One site, or all together. Seconds are None where nothing waits, and where nothing ever came."""

    queue: int
    claimed: int
    failed: int
    oldest_seconds: float | None
    landed: int
    last_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What waits in arms' journal; `age_seconds` is that of the oldest beacon, None where there is none."""

    records: int
    bytes: int
    age_seconds: float | None

    def __str__(self) -> str:
        oldest = "" if self.age_seconds is None else f", oldest {age(self.age_seconds)}"
        return f"{counted(self.records, 'beacon')}{oldest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What revelation has before it: records to look at, messages to deliver, and those that could not be."""

    records: int
    messages: int
    failed: int

    def __str__(self) -> str:
        failed = (
            f"; {counted(self.failed, 'message')} could not be told: oceanus alerts failed list" if self.failed else ""
        )
        return f"{counted(self.records, 'record')} and {counted(self.messages, 'message')} wait{failed}"


def alerts(books: Sequence[Alerts], sites: Iterable[Site]) -> Told | None:
    """Return what waits to be told, by the books of every Redis, the default one first; None if there is nothing to."""
    told = [site.name for site in sites if site.alerts]
    if not told:
        return None
    return Told(
        records=sum(book.waiting(name)[0] for name in told for book in books),
        messages=sum(books[0].messages().values()),
        failed=books[0].count_failed(),
    )


def site_status(look: Look, now_us: int) -> SiteStatus:
    """Return what a look into Redis means at the time `now_us`."""
    last_ms = look.ledger.get("last")
    return SiteStatus(
        queue=look.queue,
        claimed=look.claimed,
        failed=sum(count for name, count in look.ledger.items() if _FAILED.fullmatch(name)),
        oldest_seconds=max((_seconds(now_us, us) for us in _received(look.oldest)), default=None),
        landed=sum(count for name, count in look.ledger.items() if _SETTLED.fullmatch(name)),
        last_seconds=None if last_ms is None else _seconds(now_us, last_ms * 1000),
    )


def total(every: Iterable[SiteStatus]) -> SiteStatus:
    """Return all sites together: sums, the oldest and the newest."""
    sites = list(every)
    return SiteStatus(
        queue=sum(one.queue for one in sites),
        claimed=sum(one.claimed for one in sites),
        failed=sum(one.failed for one in sites),
        oldest_seconds=max((one.oldest_seconds for one in sites if one.oldest_seconds is not None), default=None),
        landed=sum(one.landed for one in sites),
        last_seconds=min((one.last_seconds for one in sites if one.last_seconds is not None), default=None),
    )


def waiting(look: Look) -> int:
    """Return how many records, failed ones among them, are in Redis."""
    return look.queue + look.claimed + look.waiting_failed


def stranded(looks: Mapping[str, Look], declared: Iterable[str]) -> dict[str, int]:
    """Return how many records the sites have that sites.yaml does not declare: nobody drains those."""
    removed = looks.keys() - set(declared)
    counts = {name: waiting(looks[name]) for name in sorted(removed)}
    return {name: count for name, count in counts.items() if count}


def stranded_lines(removed: Mapping[str, int], sites_file: str) -> list[str]:
    """Return a line for each site that `sites_file` does not declare and that has records."""
    return [
        f"{name}: {counted(count, 'record')} {'waits' if count == 1 else 'wait'}, "
        f"but {sites_file} does not declare it: nobody drains {'it' if count == 1 else 'them'}"
        for name, count in removed.items()
    ]


def moving_lines(parts: Mapping[str, Mapping[str, Look]], spools: Spools) -> list[str]:
    """Return a line for each site of which records lie in a Redis that it does not live in, and for each empty Redis.

    `parts`: each site's look into every Redis.
    """
    lines, filled = [], set()
    for site, looks in parts.items():
        for name, count in ((name, waiting(look)) for name, look in looks.items()):
            filled |= {name} if count else set()
            if count and name != spools.home(site):
                lines.append(
                    f"{site}: {counted(count, 'record')} in {name or 'the default Redis'}, where it lives no more"
                )
    empty = [name for name in spools.every if not spools.is_home(name) and name not in filled]
    return lines + [f"{name}: no site lives there, and nothing waits there for r2bq" for name in empty]


def journal(metrics: str) -> Journal:
    """Return what arms keeps in its journal, by what it tells at /metrics; nothing where it has none."""
    found: dict[str, list[float]] = {_JOURNALLED: [], _JOURNAL_BYTES: [], _JOURNAL_AGE: []}
    for family in text_string_to_metric_families(metrics):
        for one in family.samples:
            if one.name in found and math.isfinite(one.value):
                found[one.name].append(one.value)
    waiting = round(sum(found[_JOURNALLED]))
    oldest = max(found[_JOURNAL_AGE], default=None) if waiting else None
    return Journal(records=waiting, bytes=round(sum(found[_JOURNAL_BYTES])), age_seconds=oldest)


def ask_arms(url: str | None) -> Journal | None:
    """Return what is in arms' journal; None if arms does not answer, or nobody knows where it is."""
    if url is None:
        return None
    try:
        answer = httpx.get(url, timeout=5, trust_env=False)
        return journal(answer.raise_for_status().text)
    except (httpx.HTTPError, ValueError):
        return None


def told(in_journal: Journal | None) -> dict[str, float | None]:
    """Return arms' journal as the JSON of `status` and `audit` has it; all null if it is unknown."""
    if in_journal is None:
        return {"journalled": None, "journal_bytes": None, "journal_age_seconds": None}
    return {
        "journalled": in_journal.records,
        "journal_bytes": in_journal.bytes,
        "journal_age_seconds": in_journal.age_seconds,
    }


def show(
    sites: Mapping[str, SiteStatus],
    removed: Iterable[str],
    in_journal: Journal | None,
    to_tell: Told | None,
    form: str,
    out: TextIO,
) -> None:
    """Write the status as `json` or as a `table`."""
    if form == "json":
        every = {name: asdict(one) for name, one in sites.items()}
        whole = {
            "sites": every,
            "total": asdict(total(sites.values())),
            "arms": told(in_journal),
            "alerts": asdict(to_tell) if to_tell else None,
        }
        out.write(json.dumps(whole, indent=2) + "\n")
        return
    for line in _table(sites, set(removed)):
        out.write(line + "\n")
    out.write(f"arms' journal: {in_journal or 'unknown'}\n")
    if to_tell:
        out.write(f"alerts: {to_tell}\n")


def _table(sites: Mapping[str, SiteStatus], removed: set[str]) -> list[str]:
    names = ("site", "queue", "claimed", "failed", "oldest", "landed", "last")
    rows = [[f"{name} (not in sites.yaml)" if name in removed else name, *_cells(one)] for name, one in sites.items()]
    rows.append(["total", *_cells(total(sites.values()))])
    return grid.plain(names, rows, [False] + [True] * 6)


def _cells(one: SiteStatus) -> list[str]:
    ages = ["-" if seconds is None else age(seconds) for seconds in (one.oldest_seconds, one.last_seconds)]
    return [str(one.queue), str(one.claimed), str(one.failed), ages[0], str(one.landed), ages[1]]


def _received(texts: Iterable[bytes]) -> list[int]:
    """Return the receive times of those texts that are records, in microseconds since 1970."""
    times = []
    for text in texts:
        try:
            times.append(records.received(records.decode(text)))
        except NotARecordError:  # r2bq will set it aside; it has no age
            continue
    return times


def _seconds(now_us: int, then_us: int) -> float:
    return max(0.0, round((now_us - then_us) / 1e6, 3))
