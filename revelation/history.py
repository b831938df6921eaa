"""The history: a visitor's last rows in BigQuery, to stand below a message."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from oceanus import tables
from oceanus.errors import (
    RefusedError,
    TableMissingError,
    TableTroubleError,
    TryAgainError,
    WarehouseBusyError,
    WarehouseError,
    WarehouseUnclearError,
)
from oceanus.sites import Site
from oceanus.tables import Naming
from oceanus.warehouse.queries import Result, Value
from revelation.telling import Table, Telling, moment
from revelation.templates import local, zone

BY: Final = "sid"
DAYS: Final = 2
ROWS: Final = 150
COLUMNS: Final = ("dt", "evt", "url", "tit")
CELL_CHARACTERS = 200
SECONDS = 10.0  # of one question; two are asked of tables of single days


class Asked(Protocol):
    """What is asked: the warehouse's Queries, or a fake of a test."""

    def select(
        self, sql: str, max_bytes: int, seconds: float = 300, values: Mapping[str, Value] | None = None
    ) -> Result:
        """Run one SELECT; raises WarehouseError."""


class History:
    """Reads visitors' rows. A query may read at most `max_bytes`; a partition or a day's table is all it touches."""

    def __init__(
        self,
        queries: Asked,
        naming: Naming,
        sites: Mapping[str, Site],
        max_bytes: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._queries = queries
        self._naming = naming
        self._sites = sites
        self._max_bytes = max_bytes
        self._now = now

    def table(self, asked: Mapping[str, Any], telling: Telling) -> Table:
        """Return the visitor's last rows, newest last, for the option `history` of alerts.yaml.

        They begin with the day `days` - 1 before the record's, in the telling's zone. Without a visitor's id in the
        record, or without a table, there are none. Raises TryAgainError or RefusedError.
        """
        site, by = self._site(str(asked.get("site", telling.site))), str(asked.get("by", BY))
        wanted = self._naming.table(site, _text(moment(telling)))
        columns = _present(asked.get("columns", COLUMNS), wanted)
        visitor = telling.record.get(by)
        if not visitor:
            return Table(columns=columns, rows=())
        if not _present([by], wanted):
            raise RefusedError(f"history: by: the site {site.name} has no field {by}")
        place = zone(telling.zone)
        first = first_moment(moment(telling), int(asked.get("days", DAYS)), place)
        try:
            standing = self._standing(site, first)
            sql = question(standing, by, columns, int(asked.get("rows", ROWS)))
            rows = self._select(sql, {"visitor": str(visitor), "first": _text(first)}) if standing else []
        except TableMissingError:
            rows = []
        except (WarehouseUnclearError, WarehouseBusyError, TableTroubleError) as exc:
            raise TryAgainError(f"history: {_line(exc)}") from exc
        except WarehouseError as exc:
            raise RefusedError(f"history: {_line(exc)}") from exc
        return Table(columns=columns, rows=tuple(_cells(row, place) for row in reversed(rows)))

    def _site(self, name: str) -> Site:
        if name not in self._sites:
            raise RefusedError(f"history: site: {name} is not in sites.yaml")
        return self._sites[name]

    def _standing(self, site: Site, first: datetime) -> list[tables.Table]:
        """Return the tables with rows since `first`: of the daily form those that stand."""
        if not site.table.is_daily:
            return [self._naming.table(site, _text(first))]
        possible = {
            table.name: table
            for table in (self._naming.table(site, str(day)) for day in _days(first.date(), self._now().date()))
        }
        found = self._select(STANDING.format(dataset=self._naming.dataset), {"names": list(possible)})
        return [possible[name] for (name,) in found]

    def _select(self, sql: str, values: Mapping[str, Value]) -> list[tuple[Any, ...]]:
        return list(self._queries.select(sql, self._max_bytes, SECONDS, values).rows)


STANDING = "SELECT table_name FROM `{dataset}`.INFORMATION_SCHEMA.TABLES WHERE table_name IN UNNEST(@names) ORDER BY 1"


def question(standing: Sequence[tables.Table], by: str, columns: Sequence[str], rows: int) -> str:
    """Return the SQL for the visitor's last rows, newest first; its parameters are `visitor` and `first`, texts."""
    parts = "\nUNION ALL\n".join(_part(table, by, columns) for table in standing)
    read = ", ".join(map(_quoted, columns)) or "eid"
    return f"SELECT {read} FROM (\n{parts}\n)\nORDER BY dt DESC, eid DESC LIMIT {rows:d}"  # noqa: S608 - names of ours, values as parameters


def first_moment(time: datetime, days: int, place: ZoneInfo) -> datetime:
    """Return when the day began that is `days` - 1 before that of a time, at this place, in UTC."""
    day = time.astimezone(place).date() - timedelta(days=days - 1)
    return datetime(day.year, day.month, day.day, tzinfo=place).astimezone(UTC)


def _part(table: tables.Table, by: str, columns: Sequence[str]) -> str:
    types = {column.name: column.type for column in table.columns}
    read = ", ".join(_expression(name, types[name]) for name in dict.fromkeys([*columns, "dt", "eid"]))
    visitor = _quoted(by) if types[by] == "STRING" else f"CAST({_quoted(by)} AS STRING)"
    first = "TIMESTAMP(@first)" if table.partition else "@first"
    return f"SELECT {read} FROM `{table.path}` WHERE {visitor} = @visitor AND dt >= {first}"  # noqa: S608 - names of ours, values as parameters


def _quoted(name: str) -> str:
    """Return a column's name as SQL takes any: a field may be called `order` or `group`."""
    return f"`{name}`"


def _expression(name: str, kind: str) -> str:
    column = _quoted(name)
    if kind in ("STRING", "TIMESTAMP"):
        return column
    return f"TO_JSON_STRING({column}) AS {column}" if kind == "JSON" else f"CAST({column} AS STRING) AS {column}"


def _present(names: Iterable[str], table: tables.Table) -> tuple[str, ...]:
    present = {column.name for column in table.columns}
    return tuple(name for name in dict.fromkeys(names) if name in present)


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=count) for count in range((last - first).days + 1)]


def _text(moment: datetime) -> str:
    """Return a time in UTC as `dt` has it."""
    return str(moment.astimezone(UTC).replace(tzinfo=None))


def _cells(row: Sequence[Any], place: ZoneInfo) -> tuple[str, ...]:
    return tuple("" if value is None else str(local(value, place))[:CELL_CHARACTERS] for value in row)


def _line(error: WarehouseError) -> str:
    return " ".join(str(error).split())[:200]
