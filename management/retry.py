"""Retry: failed records on their way back, each once. Reads marks and tables first, then sends by one script each.

A mark in Redis says that a failed record was sent again. Of those older than the first mark, Redis may have forgotten
it (it was emptied); these are looked up, in their table and among the records that BigQuery refused later.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import batched

from management import failed
from management.again import Judge, Ready
from management.failed import Row
from oceanus import records
from oceanus.errors import SpoolRefusedError, TableMissingError
from oceanus.records import DAY_US
from oceanus.shards import Spools
from oceanus.warehouse import Queries

SENT, BEFORE, CANNOT, UNSENT = "sent", "before", "cannot", "unsent"
OLD = "it is older than the failed table keeps its rows"
LOOKED_UP, SENT_AT_ONCE = 1000, 200  # rows a query; scripts a trip, which Redis' other clients wait for


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of one failed record: sent, sent before, not to be sent, or not sent by Redis' fault; and why."""

    row: Row
    outcome: str
    why: str = ""
    ready: Ready | None = None


@dataclass(slots=True)
class Tally:
    """How many came to what, and for each reason an example."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], str] = field(default_factory=dict)

    def count(self, verdicts: Iterable[Verdict]) -> None:
        """Count what was judged or sent."""
        for one in verdicts:
            self.outcomes[one.outcome] += 1
            if one.why:
                self.reasons[one.row.site, one.why] += 1
                self.examples.setdefault((one.row.site, one.why), one.row.fid)


class Retrier:
    """Judges failed records and sends those that may be sent."""

    def __init__(
        self, spool: Spools, queries: Queries, path: str, judge: Judge, max_bytes: int, verify: bool = False
    ) -> None:
        self._spool = spool
        self._queries = queries
        self._path = path
        self._judge = judge
        self._max_bytes = max_bytes
        self._verify = verify

    def look(self, rows: Sequence[Row]) -> list[Verdict]:
        """Return what a retry would do; changes nothing."""
        return [verdict for site, some in _by_site(rows).items() for verdict in self._look(site, some)[0]]

    def send(self, rows: Sequence[Row], alerts: frozenset[str]) -> list[Verdict]:
        """Send again what may be; `alerts` names the sites with alert rules. Raises SpoolError: then repeat it."""
        verdicts = []
        for site, some in _by_site(rows).items():
            judged, since_ms = self._look(site, some)
            ready = [one.ready.retry for one in judged if one.ready]
            answers = iter(
                answer
                for part in batched(ready, SENT_AT_ONCE, strict=False)
                for answer in self._spool.retry(site, part, since_ms=since_ms, alerts=site in alerts)
            )
            verdicts += [_settled(one, next(answers)) if one.ready else one for one in judged]
        return verdicts

    def _look(self, site: str, rows: Sequence[Row]) -> tuple[list[Verdict], int | None]:
        """Return what would become of a site's rows, and since when its marks are known (None: all were looked up)."""
        since_ms = None if self._verify else self._spool.marks_since(site)
        marks = self._spool.retried(site, [row.fid for row in rows])
        judged = [self._judged(row, row.fid in marks) for row in rows]
        doubted = [one for one in judged if one.ready and _is_doubtful(one.row, since_ms)]
        before = self._sent_before(doubted)
        return [Verdict(row=one.row, outcome=BEFORE) if one.row.fid in before else one for one in judged], since_ms

    def _judged(self, row: Row, is_marked: bool) -> Verdict:
        if is_marked:
            return Verdict(row=row, outcome=BEFORE)
        ready = self._judge.judge(row)
        if isinstance(ready, str):
            return Verdict(row=row, outcome=CANNOT, why=ready)
        return Verdict(row=row, outcome=SENT, ready=ready)

    def _sent_before(self, doubted: Sequence[Verdict]) -> set[str]:
        """Return the ids of those that have landed, or were refused once more, since they failed."""
        tables: dict[tuple[str, bool], list[Ready]] = defaultdict(list)
        for one in doubted:
            if one.ready:
                tables[one.ready.path, one.ready.timed].append(one.ready)
        landed = {eid for (path, timed), some in tables.items() for eid in self._landed(path, timed, some)}
        again = self._refused_again([ready for some in tables.values() for ready in some])
        return {
            one.row.fid
            for one in doubted
            if one.ready and (one.ready.eid in landed or again.get(one.ready.eid, "") > one.row.fid)
        }

    def _landed(self, path: str, timed: bool, some: Sequence[Ready]) -> set[str]:
        times = [ready.dt_us for ready in some]
        try:
            return self._queries.landed(path, "eid", [one.eid for one in some], min(times), max(times), timed)
        except TableMissingError:
            return set()

    def _refused_again(self, some: Sequence[Ready]) -> dict[str, str]:
        """Return the id of the last failed record of each event that BigQuery has refused."""
        if not some:
            return {}
        first_us = min(records.received_us(ready.retry.fid) for ready in some) - DAY_US
        sql, values = failed.again_sql(self._path, [ready.eid for ready in some], first_us)
        found = self._queries.select(sql, self._max_bytes, values=values).rows
        return {str(eid): str(fid) for eid, fid in found}


def _by_site(rows: Sequence[Row]) -> dict[str, list[Row]]:
    sites: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        sites[row.site].append(row)
    return sites


def _is_doubtful(row: Row, since_ms: int | None) -> bool:
    """Say whether its mark may have been forgotten: marks are known only since the first one."""
    return since_ms is None or records.received_us(row.fid) < since_ms * 1000


def _settled(judged: Verdict, answer: str | SpoolRefusedError) -> Verdict:
    if isinstance(answer, SpoolRefusedError):
        return Verdict(row=judged.row, outcome=UNSENT, why=str(answer))
    if answer == "OLD":
        return Verdict(row=judged.row, outcome=CANNOT, why=OLD)
    return Verdict(row=judged.row, outcome=SENT if answer == "OK" else BEFORE)
