"""What was lost with a Redis is counted by the verdicts that are left of it, against a real local BigQuery."""

from typing import Any

import pytest

from management import lost
from management.lost import Lost
from oceanus import records, sites
from oceanus.records import DAY_US
from oceanus.tables import Naming, Table
from oceanus.warehouse import Queries, Writer
from tests.conftest import Warehouse

SITES = sites.parse("""\
shapes:
  visit:
    fields:
      dt: {from: clock, type: TIMESTAMP, mode: REQUIRED}
      sid: {from: query, rule: {type: string, required: true}, mode: REQUIRED}
  old:
    fields:
      dt: {from: clock, mode: REQUIRED}
      sid: {from: query, rule: {type: string, required: true}, mode: REQUIRED}
sites:
  shop: {method: swallow, shape: visit, batch: {rows: 1, seconds: 1}}
  daily: {method: swallow, shape: old, batch: {rows: 1, seconds: 1}, table: {form: daily}}
""")
DAY = records.time_us("2026-11-22 00:00:00")
NOON, COUNTED, LOST_AT = DAY + DAY_US // 2, DAY + DAY_US // 2 + 60_000_000, DAY + DAY_US // 2 + 120_000_000


@pytest.fixture
def naming(warehouse: Warehouse) -> Naming:
    """The names of a dataset in which all tables stand."""
    found = Naming(warehouse.settings.dataset)
    for dataset in (found.dataset, found.failed.dataset):
        warehouse.catalog.create_dataset(dataset, "")
    for table in (found.audit, found.failed, *(found.table(site, records.time_text(NOON)) for site in SITES.values())):
        warehouse.catalog.create(table)
    return found


def put(warehouse: Warehouse, table: Table, *rows: dict[str, Any]) -> None:
    writer = Writer(warehouse.clients)
    writer.write(table, writer.create_stream(table.path), 0, list(rows))


def verdict(at_us: int, accepted: int, in_flight: int, epoch: str = "first", **other: Any) -> dict[str, Any]:
    counted = {"settled": accepted - in_flight, "failed": 0, "repeated": 0, "rows": 0, "missing": 0, "doubled": 0}
    told = {"dt": at_us, "site": "shop", "bucket": DAY, "span": "day", "verdict": "partly", "epoch": epoch}
    return told | counted | {"accepted": accepted, "in_flight": in_flight, "eid": records.mint(at_us)} | other


def found(warehouse: Warehouse, naming: Naming, site: str = "shop") -> Lost:
    queries = Queries(warehouse.clients, naming.dataset)

    def ask(sql: str, values: Any) -> list[tuple[Any, ...]]:
        return list(queries.select(sql, 10**10, values=values).rows)

    return lost.of(SITES[site], naming, LOST_AT, ask)


def beacon(us: int) -> dict[str, Any]:
    return {"dt": us, "sid": "a", "eid": records.mint(us)}


def test_what_was_in_flight_and_stands_nowhere_is_lost(warehouse: Warehouse, naming: Naming) -> None:
    """The last verdict before the loss counts, and of its own Redis; rows of later count for nothing."""
    put(
        warehouse,
        naming.audit,
        verdict(NOON, 3, 3, bucket=DAY - 7 * DAY_US, epoch="of an older Redis"),
        verdict(NOON + 1, 4, 4),
        verdict(NOON + 2, 50, 0, bucket=DAY - DAY_US),  # all of it had landed
        verdict(COUNTED, 6, 3),
        verdict(COUNTED, 9, 9, site="other"),
        verdict(COUNTED, 6, 3, span="minute"),
        verdict(LOST_AT + 1, 1, 1, epoch="of the new one"),
    )
    table = naming.table(SITES["shop"], records.time_text(NOON))
    stands = beacon(NOON)
    put(warehouse, table, stands, stands, beacon(NOON + 1), beacon(LOST_AT + 2), beacon(DAY - 1))
    refused = {"dt": COUNTED + 5, "site": "shop", "stage": "write", "reason": "no", "fid": records.mint(COUNTED)}
    raw = records.encode({"v": 1, "dt": records.time_text(NOON), "eid": "x"}).decode()
    put(
        warehouse,
        naming.failed,
        refused | {"eid": records.mint(NOON + 2), "raw": raw},
        refused | {"eid": stands["eid"], "raw": raw},  # sent again, and landed
        refused | {"eid": records.mint(1), "raw": raw.replace("2026-11-22", "2026-11-21")},
        refused | {"eid": None, "raw": "evt=", "stage": "rules"},
    )

    assert found(warehouse, naming) == Lost(accepted=6, there=3, counted_us=COUNTED)


def test_a_table_for_each_day_is_counted_too(warehouse: Warehouse, naming: Naming) -> None:
    put(warehouse, naming.audit, verdict(COUNTED, 2, 1, site="daily"))
    row = beacon(NOON) | {"dt": records.time_text(NOON)}
    put(warehouse, naming.table(SITES["daily"], records.time_text(NOON)), row)

    assert found(warehouse, naming, "daily") == Lost(accepted=2, there=1, counted_us=COUNTED)


def test_without_a_table_nothing_is_there_and_without_an_audit_nothing_is_known(
    warehouse: Warehouse, naming: Naming
) -> None:
    put(warehouse, naming.audit, verdict(COUNTED, 2, 1, bucket=DAY - DAY_US, site="daily"))

    days = {"daily": found(warehouse, naming, "daily"), "shop": found(warehouse, naming)}

    assert days == {"daily": Lost(accepted=2, there=0, counted_us=COUNTED), "shop": Lost()}
    assert lost.remarks(days)[1:] == ["shop: no audit was there before: nothing is known"]
    assert [line.split() for line in lost.lines(days)][-2:] == [
        ["daily", "2", "0", "2", "2026-11-22T12:01:00Z"],
        ["shop", "0", "0", "0", "-"],
    ]
