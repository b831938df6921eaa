"""The history: a visitor's rows, few and cheap, of both forms of tables."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from oceanus import sites, tables
from oceanus.errors import (
    RefusedError,
    TableMissingError,
    TryAgainError,
    WarehouseBusyError,
    WarehouseDeniedError,
    WarehouseError,
    WarehouseUnclearError,
)
from oceanus.tables import Naming
from oceanus.warehouse import Queries, Result, Writer
from oceanus.warehouse.queries import Value
from revelation.history import History, first_moment, question
from revelation.telling import Table, moment
from tests.conftest import Warehouse
from tests.revelation.tellings import RECORD, SITES, telling

NAMING = Naming("d", "p_")
NOW = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
LIMIT = 10**9
TOKYO = ZoneInfo("Asia/Tokyo")
COLUMNS = ("dt", "evt", "url", "tit")


class Nobody:
    """Queries that answer nothing, or fail, and keep what they were asked."""

    def __init__(self, error: Exception | None = None, names: tuple[str, ...] = ()) -> None:
        self.asked: list[tuple[str, int, Mapping[str, Value] | None]] = []
        self._error, self._names = error, names

    def select(
        self, sql: str, max_bytes: int, seconds: float = 300, values: Mapping[str, Value] | None = None
    ) -> Result:
        assert seconds <= 60
        self.asked.append((sql, max_bytes, values))
        if self._error:
            raise self._error
        names = [(name,) for name in self._names] if "INFORMATION_SCHEMA" in sql else []
        return Result([], iter(names))


def history(queries: Nobody) -> History:
    """Return a history that asks these."""
    return History(queries, NAMING, SITES, LIMIT, now=lambda: NOW)


# --- the question


def test_the_question_about_a_partitioned_table() -> None:
    table = NAMING.table(SITES["bizocean"], "2026-11-22")

    assert question([table], "sid", ["dt", "evt", "jsn"], 150) == (
        "SELECT `dt`, `evt`, `jsn` FROM (\n"
        "SELECT `dt`, `evt`, TO_JSON_STRING(`jsn`) AS `jsn`, `eid` FROM `d.p_bizocean` "
        "WHERE `sid` = @visitor AND dt >= TIMESTAMP(@first)\n"
        ")\n"
        "ORDER BY dt DESC, eid DESC LIMIT 150"
    )


def test_the_question_about_tables_of_days() -> None:
    standing = [NAMING.table(SITES["skj"], day) for day in ("2026-11-21", "2026-11-22")]

    assert question(standing, "uid", ["tit"], 5) == (
        "SELECT `tit` FROM (\n"
        "SELECT `tit`, `dt`, `eid` FROM `d.p_skj_20261121` WHERE `uid` = @visitor AND dt >= @first\n"
        "UNION ALL\n"
        "SELECT `tit`, `dt`, `eid` FROM `d.p_skj_20261122` WHERE `uid` = @visitor AND dt >= @first\n"
        ")\n"
        "ORDER BY dt DESC, eid DESC LIMIT 5"
    )


@pytest.mark.parametrize(
    ("days", "first"),
    {1: datetime(2026, 11, 22, 15), 2: datetime(2026, 11, 21, 15), 30: datetime(2026, 10, 24, 15)}.items(),
)
def test_days_are_those_of_the_zone(days: int, first: datetime) -> None:
    assert first_moment(moment(telling({})), days, TOKYO) == first.replace(tzinfo=UTC)


def test_the_visitor_is_a_parameter_and_the_bytes_are_limited() -> None:
    queries = Nobody()

    history(queries).table({"by": "uid", "days": 1}, telling({}, {"uid": "x' OR TRUE --"}))

    ((sql, max_bytes, values),) = queries.asked
    assert "TRUE" not in sql
    assert max_bytes == LIMIT
    assert values == {"visitor": "x' OR TRUE --", "first": "2026-11-22 15:00:00"}


def test_of_daily_tables_those_that_stand_are_asked() -> None:
    queries = Nobody(names=("p_skj_20261122",))

    history(queries).table({"days": 1}, telling({}, site="skj"))

    (_, _, names), (sql, _, _) = queries.asked
    assert names == {"names": ["p_skj_20261122", "p_skj_20261123"]}
    assert "p_skj_20261122" in sql
    assert "p_skj_20261123" not in sql


@pytest.mark.parametrize("visitor", ["", None])
def test_without_a_visitor_nothing_is_asked(visitor: str | None) -> None:
    queries = Nobody()

    assert history(queries).table({}, telling({}, {"sid": visitor})) == Table(columns=COLUMNS, rows=())
    assert queries.asked == []


def test_without_tables_there_are_no_rows() -> None:
    empty = Table(columns=COLUMNS, rows=())

    assert history(Nobody()).table({}, telling({}, site="skj")) == empty
    assert history(Nobody(TableMissingError("no table"))).table({}, telling({})) == empty


def test_columns_that_the_site_has_not_are_left_out() -> None:
    asked = {"columns": ["nothing", "evt", "evt", "dt"]}

    assert history(Nobody()).table(asked, telling({})).columns == ("evt", "dt")


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (WarehouseUnclearError("away\nfor now"), TryAgainError),
        (WarehouseBusyError("quota"), TryAgainError),
        (WarehouseDeniedError("no right"), RefusedError),
        (WarehouseError("bytes billed beyond the limit"), RefusedError),
    ],
)
def test_every_error_says_what_to_do(error: Exception, raised: type[Exception]) -> None:
    with pytest.raises(raised, match=r"^history: .*$"):
        history(Nobody(error)).table({}, telling({}))


@pytest.mark.parametrize("asked", [{"site": "nowhere"}, {"by": "ghost"}], ids=str)
def test_a_site_that_is_not_there_or_knows_no_visitor_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match=r"^history: "):
        history(Nobody()).table(asked, telling({}, {"ghost": "g"}))


# --- on the local BigQuery


@pytest.fixture(name="naming")
def _naming(warehouse: Warehouse) -> Iterator[Naming]:
    warehouse.catalog.create_dataset(warehouse.settings.dataset, "for a test")
    return Naming(warehouse.settings.dataset, "p_")  # type: ignore[return-value]


def write(warehouse: Warehouse, naming: Naming, site: sites.Site, *rows: tuple[str, str, str]) -> None:
    """Write rows (dt, sid, title) where r2bq would."""
    by_table: dict[str, list[tables.Row]] = {}
    for number, (dt, sid, tit) in enumerate(rows):
        made = naming.table(site, dt)
        warehouse.catalog.create(made)
        record = RECORD | {
            "dt": dt,
            "sid": sid,
            "tit": tit,
            "oid": "1",
            "rad": "127.0.0.1",
            "eid": f"e{number}",
            "ua": "",
        }
        by_table.setdefault(dt if site.table.is_daily else "", []).append(tables.row(made, record) | {"_": made})
    writer = Writer(warehouse.clients)
    for found in by_table.values():
        table = found[0]["_"]
        plain = [{name: value for name, value in row.items() if name != "_"} for row in found]
        writer.write(table, writer.create_stream(table.path), 0, plain)


@pytest.mark.parametrize("name", ["bizocean", "skj"])
def test_a_visitor_s_last_rows_come_newest_last_with_the_times_of_the_zone(
    warehouse: Warehouse, naming: Naming, name: str
) -> None:
    write(
        warehouse,
        naming,
        SITES[name],
        ("2026-11-21 14:59:59", "5ea1", "two days before, in Tokyo"),
        ("2026-11-21 15:00:00", "5ea1", "first"),
        ("2026-11-22 10:00:00.500000", "other", "somebody else's"),
        ("2026-11-22 10:00:00.500000", "5ea1", "<b>" + "x" * 300),
        ("2026-11-22 10:00:00", "5ea1", "second"),
        ("2026-11-23 00:30:00", "5ea1", "after the record"),
    )
    queries = Queries(warehouse.clients, warehouse.settings.dataset)
    asked = History(queries, naming, SITES, LIMIT, now=lambda: NOW)

    table = asked.table({"columns": ["dt", "tit", "jsn"]}, telling({}, site=name))
    last = asked.table({"columns": ["tit"], "rows": 1, "days": 1}, telling({}, site=name))

    jsn = RECORD["jsn"]
    assert table.columns == ("dt", "tit", "jsn")
    assert [row[:2] for row in table.rows] == [
        ("2026-11-22 00:00:00", "first"),
        ("2026-11-22 19:00:00", "second"),
        ("2026-11-22 19:00:00", "<b>" + "x" * 197),
        ("2026-11-23 09:30:00", "after the record"),
    ]
    assert {row[2] for row in table.rows} == {jsn}
    assert last == Table(columns=("tit",), rows=(("after the record",),))


def test_tables_that_are_not_there_yet_are_no_error(warehouse: Warehouse, naming: Naming) -> None:
    asked = History(Queries(warehouse.clients, warehouse.settings.dataset), naming, SITES, LIMIT, now=lambda: NOW)

    assert asked.table({}, telling({})).rows == ()
    assert asked.table({}, telling({}, site="skj")).rows == ()
