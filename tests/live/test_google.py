"""What only Google's BigQuery does, and r2bq relies on: run with LIVE_PROJECT_ID, skipped elsewhere.

Not run yet by anybody with a project: the expectations are those of Google's documentation.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from oceanus import records, sites
from oceanus.errors import OffsetTakenError, RowsRefusedError, StreamGoneError, TableTroubleError, WarehouseError
from oceanus.spool import Spool, key
from oceanus.tables import Column, Naming, Table
from oceanus.warehouse import Catalog, Queries, Writer
from r2bq.drain import Drain
from r2bq.source import Source
from r2bq.standing import Warehouse
from tests import conftest

pytestmark = pytest.mark.live
SITE = sites.load(str(sites.SAMPLE))["bizocean"]
PROPAGATION_SECONDS = 900


@pytest.fixture
def table(warehouse: conftest.Warehouse) -> Table:
    """The table of a site, which stands."""
    warehouse.catalog.create_dataset(warehouse.settings.dataset, "for a test; may be deleted")
    made = Naming(warehouse.settings.dataset).table(SITE, now())
    warehouse.catalog.create(made)
    return made


@pytest.fixture
def writer(warehouse: conftest.Warehouse) -> Writer:
    return Writer(warehouse.clients)


def now() -> str:
    return records.time_text(time.time_ns() // 1000)


def row(number: int, **values: object) -> dict[str, object]:
    """Return a row as the writer takes it."""
    needed = {"oid": "2", "sid": "a", "rad": "127.0.0.1", "evt": "e", "url": str(number)}
    return needed | {"dt": time.time_ns() // 1000, "eid": records.mint()} | values


def test_a_repeated_append_is_taken_on_another_connection_too(warehouse, table, writer):
    stream = writer.create_stream(table.path)
    writer.write(table, stream, 0, [row(1)])

    with pytest.raises(OffsetTakenError):
        Writer(conftest.warehouse.connect(warehouse.settings)).write(table, stream, 0, [row(1)])


def test_finalize_answers_the_same_however_often_it_is_asked(table, writer):
    stream = writer.create_stream(table.path)
    writer.write(table, stream, 0, [row(1), row(2)])

    assert [writer.finalize(stream) for _ in range(3)] == [2, 2, 2]
    with pytest.raises(StreamGoneError):
        writer.write(table, stream, 2, [row(3)])


def test_a_stream_of_a_table_that_was_made_anew_takes_nothing_unseen(warehouse, table, writer):
    stream = writer.create_stream(table.path)
    writer.write(table, stream, 0, [row(1)])
    warehouse.clients.rest.delete_table(f"{warehouse.settings.project}.{table.path}")
    warehouse.catalog.create(table)

    with pytest.raises(WarehouseError):
        writer.write(table, stream, 1, [row(2)])


def test_a_new_column_is_waited_for_and_nothing_is_dropped(warehouse, table, spool: Spool, redis_server):
    """Google's backends learn a column within seconds to minutes; until then the request is refused, never cut."""
    parts = Warehouse(
        Catalog(warehouse.clients), Queries(warehouse.clients, warehouse.settings.dataset), Writer(warehouse.clients)
    )
    patience = ThreadPoolExecutor(2)
    naming = Naming(warehouse.settings.dataset)
    drain = Drain(
        Source(SITE, "queue", naming), spool, parts, new_writer=lambda: "w", patience=patience, max_bytes=10**6
    )
    warehouse.catalog.alter(replace(table, columns=(*table.columns, Column("newer"))))
    beacon = {"oid": "2", "sid": "a", "rad": "127.0.0.1", "evt": "e", "url": "1", "newer": "x"}
    record = records.encode({"v": 1, "eid": records.mint(), "dt": now()} | beacon)
    redis_server.client().lpush(key(SITE.name, "queue"), record)

    ends = time.monotonic() + PROPAGATION_SECONDS
    while not drain.step() and time.monotonic() < ends:
        time.sleep(max(0.0, drain.waits_until - time.monotonic()))  # Google learns a column in its own time

    assert warehouse.rows(f"SELECT newer FROM {SITE.table.name}") == [("x",)]
    assert redis_server.client().llen(key(SITE.name, "failed")) == 0


def test_a_row_of_a_partition_beyond_ten_years_is_refused_by_name(table, writer):
    stream = writer.create_stream(table.path)

    with pytest.raises((RowsRefusedError, TableTroubleError)):
        writer.write(table, stream, 0, [row(1, dt=1)])


def test_a_query_that_would_read_more_than_it_may_is_refused(warehouse, table, writer):
    writer.write(table, writer.create_stream(table.path), 0, [row(number) for number in range(100)])

    with pytest.raises(WarehouseError):
        Queries(warehouse.clients, warehouse.settings.dataset).select(f"SELECT * FROM {SITE.table.name}", 1)
