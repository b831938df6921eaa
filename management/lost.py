"""What a Redis took with it that is gone: what its last audit had counted as accepted, and what of that stands.

The ledger is lost with its Redis; its counts by day are in the table `audit`, as of the last audit before. Lost can
only be what was in flight then, and what came after it, which nobody has counted.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from management import failed, grid
from management.failed import Values
from oceanus.errors import TableMissingError
from oceanus.records import time_text
from oceanus.sites import Site
from oceanus.tables import Naming

Ask = Callable[[str, Values], Iterable[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Of one site: `accepted` on the days of which something was in flight at the last audit, at `counted_us`.

    `there`: how many of those stand in its table or, refused by BigQuery, in the failed table. None: there was none.
    """

    accepted: int = 0
    there: int = 0
    counted_us: int | None = None

    @property
    def lost(self) -> int:
        """Return how many are nowhere."""
        return max(0, self.accepted - self.there)


def of(site: Site, naming: Naming, lost_at_us: int, ask: Ask) -> Lost:
    """Return what a site lost with the Redis that was lost at a time; raises WarehouseError."""
    days = list(ask(*_days_sql(naming, site, lost_at_us)))
    if not days:
        return Lost()
    open_days = [(day, accepted, counted_us) for day, accepted, in_flight, counted_us in days if in_flight > 0]
    there = [_there(site, naming, day, counted_us, ask) for day, _, counted_us in open_days]
    return Lost(
        accepted=sum(accepted for _, accepted, _ in open_days),
        there=sum(there),
        counted_us=max(counted_us for *_, counted_us in days),
    )


def lines(found: Mapping[str, Lost]) -> Iterator[str]:
    """Yield a table of what was lost."""
    rows = [
        [name, str(one.accepted), str(one.there), str(one.lost), _time(one.counted_us)] for name, one in found.items()
    ]
    yield from grid.plain(
        ("site", "accepted", "there", "lost", "counted until"), rows, [False, True, True, True, False]
    )


def told(found: Mapping[str, Lost]) -> dict[str, Any]:
    """Return the same as JSON has it."""
    return {"sites": {name: asdict(one) | {"lost": one.lost} for name, one in found.items()}}


def remarks(found: Mapping[str, Lost]) -> Sequence[str]:
    """Return what a reader of the counts has to know, a line each."""
    uncounted = [name for name, one in found.items() if one.counted_us is None]
    return [
        "what came after an audit (counted until) and had not landed is lost uncounted",
        *(f"{name}: no audit was there before: nothing is known" for name in uncounted),
    ]


def _days_sql(naming: Naming, site: Site, lost_at_us: int) -> tuple[str, Values]:
    """Return the last verdict on each day by the Redis that counted last, as SQL: day, accepted, in flight, when."""
    sql = f"""
        WITH told AS (
            SELECT bucket, accepted - repeated AS accepted, in_flight, dt, epoch FROM `{naming.audit.path}`
            WHERE site = @site AND span = 'day' AND dt < TIMESTAMP_MICROS(@lost_at)
        )
        SELECT FORMAT_TIMESTAMP('%F', bucket), accepted, in_flight, UNIX_MICROS(dt) FROM told
        WHERE epoch = (SELECT MAX_BY(epoch, dt) FROM told)
        QUALIFY ROW_NUMBER() OVER (PARTITION BY bucket ORDER BY dt DESC) = 1
        ORDER BY bucket"""  # noqa: S608 - names of ours, values as parameters
    return sql, {"site": site.name, "lost_at": lost_at_us}


def _there(site: Site, naming: Naming, day: str, counted_us: int, ask: Ask) -> int:
    """Return how many ids of a day stand in the site's table or among the refused, of what had come until then."""
    refused = f"""
        SELECT eid FROM `{naming.failed.path}` WHERE site = @site AND stage = 'write' AND eid IS NOT NULL
        AND dt >= TIMESTAMP(@day) AND STARTS_WITH(JSON_VALUE(raw, '$.dt'), @day)"""  # noqa: S608 - as above
    if site.table.is_daily:
        within = "STARTS_WITH(dt, @day) AND dt < @until"
    else:
        after = "LEAST(TIMESTAMP(@until), TIMESTAMP_ADD(TIMESTAMP(@day), INTERVAL 1 DAY))"
        within = f"dt >= TIMESTAMP(@day) AND dt < {after}"
    landed = f"SELECT eid FROM `{naming.path(site, day)}` WHERE eid IS NOT NULL AND {within}"  # noqa: S608 - as above
    values: Values = {"site": site.name, "day": day, "until": time_text(counted_us)}
    try:
        [(count,)] = ask(f"SELECT COUNT(*) FROM ({landed} UNION DISTINCT {refused})", values)  # noqa: S608 - as above
    except TableMissingError:  # nothing of that day has landed at all
        return 0
    return int(count)


def _time(us: int | None) -> str:
    return "-" if us is None else failed.rfc3339(us)
