"""Whereabouts: where a beacon is that arms has accepted: in Redis still, a row of its table, or nowhere to be seen."""

from collections.abc import Callable
from dataclasses import dataclass

from oceanus import records
from oceanus.errors import NotARecordError, TableMissingError
from oceanus.shards import Spools
from oceanus.sites import Site
from oceanus.tables import Naming
from oceanus.warehouse import Queries

# A row is looked for about the time of its beacon alone: BigQuery reads a day or two of the table.
SPAN_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """`place`: `waits` with that many others, `row`, or `unknown`; `table` is where it will be, or is."""

    place: str
    waiting: int
    table: str


def of(
    site: Site,
    eid: str,
    at_us: int,
    spools: Spools,
    queries: Queries,
    naming: Naming,
    check_warehouse: Callable[[], None],
) -> Whereabouts:
    """Return where the beacon of an event id is that was answered at `at_us`; raises SpoolError, WarehouseError.

    `check_warehouse` is called before BigQuery is asked, to raise at once where it is away.
    """
    look = spools.glances([site.name], [])[site.name]
    path = naming.path(site, records.time_text(at_us))
    if any(_received(raw) <= at_us for raw in look.oldest):
        return Whereabouts("waits", look.queue + look.claimed, path)
    check_warehouse()
    try:
        timed = not site.table.is_daily
        found = queries.landed(path, "eid", [eid], at_us - SPAN_US, at_us + SPAN_US, timed)
    except TableMissingError:
        found = set()
    return Whereabouts("row" if found else "unknown", 0, path)


def _received(raw: bytes) -> float:
    try:
        return records.received(records.decode(raw))
    except NotARecordError:
        return float("inf")
