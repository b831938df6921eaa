"""The warehouse on a real local BigQuery: what is answered, what is refused, and what is written when it is."""

import re
import socket
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from oceanus import records, settings, sites, tables
from oceanus import warehouse as warehouses
from oceanus.errors import (
    MisconfiguredError,
    OffsetTakenError,
    RowsRefusedError,
    StreamGoneError,
    TableMissingError,
    WarehouseError,
    WarehouseUnclearError,
)
from oceanus.settings import WarehouseSettings
from oceanus.tables import Column, Naming, Table
from oceanus.warehouse import Catalog, Clients, Queries, Writer

SAMPLE = sites.load(str(sites.SAMPLE))
DT = "2026-11-22 10:07:00.000001"
LIMIT = 10**9
# One table of every shape and form of the sample, and those that belong to no site.
FORMS = {
    name: Naming("d", "p_").table(SAMPLE[name], DT)
    for name in ("bizocean", "skj", "movieform", "mailaction", "shortener")
}
FORMS |= {"failed": Naming("d").failed, "audit": Naming("d").audit}
TABLE = Table(
    path="d.facts",
    columns=(
        Column("dt", "TIMESTAMP", "REQUIRED", "When."),
        Column("tit"),
        Column("jsn", "JSON"),
        Column("size", "INT64"),
        Column("ratio", "FLOAT64"),
        Column("seen", "BOOL"),
        Column("eid", "STRING", "REQUIRED"),
    ),
    description="for a test",
    partition="dt",
    cluster=("tit",),
    expiry_days=400,
)


def here(warehouse, table: Table) -> Table:
    """Return the table in the dataset of this test."""
    return replace(table, path=f"{warehouse.settings.dataset}.{table.name}")


def row(number: int, **values: object) -> dict[str, object]:
    return {"dt": number, "eid": f"e{number}"} | values


@pytest.fixture
def table(warehouse):
    """A table that stands."""
    warehouse.catalog.create_dataset(warehouse.settings.dataset, "for a test")
    made = here(warehouse, TABLE)
    warehouse.catalog.create(made)
    return made


@pytest.fixture
def writer(warehouse):
    return Writer(warehouse.clients)


@pytest.fixture
def queries(warehouse):
    return Queries(warehouse.clients, warehouse.settings.dataset)


def written(warehouse) -> list[str]:
    return [eid for (eid,) in warehouse.rows("SELECT eid FROM facts ORDER BY eid")]


# ------------------------------------------------------------------------------------------------------------- catalog


def test_a_dataset_is_made_once(warehouse):
    name = warehouse.settings.dataset

    before = warehouse.catalog.has_dataset(name)
    warehouse.catalog.create_dataset(name, "one")
    warehouse.catalog.create_dataset(name, "two")

    assert (before, warehouse.catalog.has_dataset(name)) == (False, True)


@pytest.mark.parametrize("form", FORMS)
def test_a_table_stands_as_it_was_planned(warehouse, form):
    wanted = here(warehouse, FORMS[form])
    warehouse.catalog.create_dataset(wanted.dataset, "for a test")

    before = warehouse.catalog.find(wanted.path)
    warehouse.catalog.create(wanted)

    assert before is None
    assert warehouse.catalog.find(wanted.path) == wanted


def test_a_table_that_stands_is_left_alone_by_create(warehouse, table):
    warehouse.catalog.create(replace(table, description="other", columns=table.columns[:1]))

    assert warehouse.catalog.find(table.path) == table


def test_a_table_is_altered_to_the_plan(warehouse, table):
    wanted = replace(
        table,
        columns=(replace(table.columns[0], description="Then."), *table.columns[1:], Column("ref")),
        description="altered",
        cluster=("eid", "tit"),
        expiry_days=30,
        labels={"managed_by": "oceanus"},
    )

    warehouse.catalog.alter(wanted)

    assert warehouse.catalog.find(table.path) == wanted


def test_a_row_that_was_written_survives_an_alteration(warehouse, table, writer):
    writer.write(table, writer.create_stream(table.path), 0, [row(1, tit="before")])

    warehouse.catalog.alter(replace(table, columns=(*table.columns, Column("ref"))))

    assert warehouse.rows("SELECT tit, ref FROM facts") == [("before", None)]


def test_what_is_not_there_is_not_found(warehouse):
    assert warehouse.catalog.find("no_dataset.no_table") is None
    with pytest.raises(TableMissingError):
        warehouse.catalog.create(replace(TABLE, path="no_dataset.no_table"))


# -------------------------------------------------------------------------------------------------------------- writer


def test_appends_follow_each_other_by_their_offsets(warehouse, table, writer):
    stream = writer.create_stream(table.path)

    writer.write(table, stream, 0, [row(1), row(2)])
    writer.write(table, stream, 2, [row(3)])

    assert written(warehouse) == ["e1", "e2", "e3"]


def test_the_same_offset_again_is_taken_and_writes_nothing(warehouse, table, writer):
    stream = writer.create_stream(table.path)
    writer.write(table, stream, 0, [row(1), row(2)])

    with pytest.raises(OffsetTakenError):
        writer.write(table, stream, 0, [row(1), row(2)])

    assert written(warehouse) == ["e1", "e2"]


def test_an_offset_beyond_the_end_is_a_stream_to_recover_from(warehouse, table, writer):
    stream = writer.create_stream(table.path)

    with pytest.raises(StreamGoneError):
        writer.write(table, stream, 5, [row(1)])

    assert written(warehouse) == []


def test_bad_rows_are_named_and_nothing_of_the_request_is_written(warehouse, table, writer):
    stream = writer.create_stream(table.path)

    with pytest.raises(RowsRefusedError) as caught:
        writer.write(table, stream, 0, [row(1), {"eid": "no time"}, row(2), {"dt": 3}])

    assert caught.value.reasons == {1: "Missing required field: dt.", 3: "Missing required field: eid."}
    assert written(warehouse) == []


def test_a_refused_append_leaves_its_offset_free(warehouse, table, writer):
    stream = writer.create_stream(table.path)
    with pytest.raises(RowsRefusedError):
        writer.write(table, stream, 0, [row(1), {"dt": 2}])

    writer.write(table, stream, 0, [row(1)])

    assert written(warehouse) == ["e1"]


def test_a_column_that_the_table_lacks_is_refused_by_row(table, writer):
    wider = replace(table, columns=(*table.columns, Column("ref")))

    with pytest.raises(RowsRefusedError) as caught:
        writer.write(wider, writer.create_stream(table.path), 0, [row(1, ref="new")])

    assert list(caught.value.reasons) == [0]


def test_finalize_tells_how_many_rows_the_stream_took_and_tells_it_again(table, writer):
    stream = writer.create_stream(table.path)
    writer.write(table, stream, 0, [row(1), row(2)])
    writer.write(table, stream, 2, [row(3)])

    assert (writer.finalize(stream), writer.finalize(stream)) == (3, 3)


def test_a_finalised_stream_takes_nothing_more(warehouse, table, writer):
    stream = writer.create_stream(table.path)
    writer.finalize(stream)

    with pytest.raises(StreamGoneError):
        writer.write(table, stream, 0, [row(1)])

    assert written(warehouse) == []


def test_a_stream_that_is_not_known_is_gone_and_has_no_count(table, writer):
    dataset, name = table.path.split(".")
    unknown = f"projects/local/datasets/{dataset}/tables/{name}/streams/unknown"

    with pytest.raises(StreamGoneError):
        writer.write(table, unknown, 0, [row(1)])

    assert writer.finalize(unknown) is None


@pytest.mark.parametrize("path", ["{dataset}.missing", "no_dataset.missing"])
def test_there_is_no_stream_to_a_missing_table(table, writer, path):
    with pytest.raises(TableMissingError):
        writer.create_stream(path.format(dataset=table.dataset))


# ------------------------------------------------------------------------------------------------------- text fidelity

TEXTS = {
    "emoji": "😀 🏳️‍🌈 👩‍👩‍👧‍👦",
    "right to left": "שלום مرحبا \u202eabc\u202c",
    "four bytes": "𠮷野家 𝔘𝔫𝔦",
    "noncharacter": "\uffff\U0010ffff",
    "combining": "e\u0301 é が か\u3099",
    "control": "\x01\t\n\r\x7f\u2028",
    "nul": "a\x00b",
    "quotes": "\"'`\\ ; -- <script>",
    "empty": "",
    "blank": "  ",
}


def test_any_text_comes_out_as_it_went_in(warehouse, table, writer):
    rows = [row(number, tit=text) for number, text in enumerate(TEXTS.values())]

    writer.write(table, writer.create_stream(table.path), 0, rows)

    found = warehouse.rows("SELECT tit FROM facts ORDER BY dt")
    assert dict(zip(TEXTS, (text for (text,) in found), strict=True)) == TEXTS


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_text_goes_from_record_to_row_unchanged(text):
    site = SAMPLE["bizocean"]
    fields = {"oid": "2", "sid": "a", "rad": "127.0.0.1", "evt": "e", "tit": text}
    record = {"v": 1, "eid": records.mint(), "dt": DT} | fields

    values = tables.row(Naming("d").table(site, DT), records.decode(records.encode(record)))

    assert values == {"eid": record["eid"], "dt": 1_795_342_020_000_001} | fields


def test_json_comes_out_with_its_numbers_and_texts_whole(warehouse, table, writer):
    facts = [
        '{"id":12345678901234567890123456789}',
        "9007199254740993",
        "1e400",
        '[-1,0.5,true,null,"😀",{"é":"שלום"}]',
        '"\uffff"',
        "null",
    ]

    writer.write(table, writer.create_stream(table.path), 0, [row(n, jsn=text) for n, text in enumerate(facts)])

    found = [text for (text,) in warehouse.rows("SELECT TO_JSON_STRING(jsn) FROM facts ORDER BY dt")]
    assert found == facts


def test_every_type_comes_out_at_its_ends(warehouse, table, writer):
    least = row(-62_135_596_800_000_000, size=-(2**63), ratio=-1.7976931348623157e308, seen=False)
    most = row(253_402_300_799_999_999, size=2**63 - 1, ratio=5e-324, seen=True)

    writer.write(table, writer.create_stream(table.path), 0, [least, most, row(0)])

    found = warehouse.rows("SELECT dt, size, ratio, seen FROM facts ORDER BY dt")
    assert found == [
        (datetime(1, 1, 1, tzinfo=UTC), -(2**63), -1.7976931348623157e308, False),
        (datetime(1970, 1, 1, tzinfo=UTC), None, None, None),
        (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), 2**63 - 1, 5e-324, True),
    ]


# ------------------------------------------------------------------------------------------------------------- queries


@pytest.mark.parametrize("sql", ["SELECT 1 AS one", "SELECT 1 AS one;", "WITH a AS (SELECT 1 AS one) SELECT * FROM a"])
def test_one_select_is_run(queries, table, sql):
    result = queries.select(sql, LIMIT)

    assert (result.columns, list(result.rows)) == ([("one", "INTEGER")], [(1,)])


def test_all_but_one_select_is_refused_and_changes_nothing(queries, warehouse, table, writer):
    writer.write(table, writer.create_stream(table.path), 0, [row(1, tit="stays")])

    for sql in (
        "DELETE FROM facts WHERE true",
        "INSERT INTO facts (eid) VALUES ('x')",
        "UPDATE facts SET tit = '' WHERE true",
        "TRUNCATE TABLE facts",
        "DROP TABLE facts",
        "CREATE TABLE other AS SELECT 1 AS one",
        "EXPORT DATA OPTIONS (uri='gs://x/*', format='CSV') AS SELECT 1",
        "SELECT 1; SELECT 2",
        "SELECT 1; DELETE FROM facts WHERE true",
        "DECLARE x INT64 DEFAULT 1; SELECT x",
        "BEGIN SELECT 1; END",
        "SELEC",
        "",
    ):
        with pytest.raises(WarehouseError):
            queries.select(sql, LIMIT)

    assert warehouse.rows("SELECT eid, tit FROM facts") == [("e1", "stays")]
    assert warehouse.catalog.find(f"{table.dataset}.other") is None


def test_a_query_about_a_missing_table_says_so(queries, table):
    with pytest.raises(TableMissingError):
        queries.select("SELECT * FROM missing", LIMIT)


def test_only_the_ids_that_stand_in_the_span_have_landed(queries, table, writer):
    writer.write(table, writer.create_stream(table.path), 0, [row(number) for number in range(1, 6)])

    landed = queries.landed(table.path, "eid", ["e1", "e2", "e4", "e9", "'"], 2, 5, timed=True)

    assert landed == {"e2", "e4"}


def test_in_a_table_of_texts_the_span_does_not_count(queries, warehouse, writer):
    daily = here(warehouse, FORMS["skj"])
    warehouse.catalog.create_dataset(daily.dataset, "for a test")
    warehouse.catalog.create(daily)
    values = {"oid": "2", "sid": "a", "rad": "127.0.0.1", "evt": "e", "url": "u", "dt": DT, "eid": "e1"}
    writer.write(daily, writer.create_stream(daily.path), 0, [values])

    assert queries.landed(daily.path, "eid", ["e1", "e2"], 0, 0, timed=False) == {"e1"}


def test_nothing_has_landed_in_a_missing_table(queries, table):
    with pytest.raises(TableMissingError):
        queries.landed(f"{table.dataset}.missing", "eid", ["e1"], 0, 1, timed=True)


# -------------------------------------------------------------------------------------------------------------- clients


@pytest.mark.parametrize("absent", ["BIGQUERY_EMULATOR_HOST", "BIGQUERY_STORAGE_EMULATOR_HOST"])
def test_one_address_of_a_local_bigquery_without_the_other_is_a_mistake_that_names_it(absent):
    environ = {"PROJECT_ID": "local", "DATA_SET": "d"}
    environ |= {"BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:1", "BIGQUERY_STORAGE_EMULATOR_HOST": "127.0.0.1:2"}
    read = settings.read(WarehouseSettings, environ | {absent: ""})

    with pytest.raises(MisconfiguredError, match=f"^{absent} is not set: "):
        warehouses.connect(read)


def test_an_address_needs_no_scheme(local_bigquery):
    bare = {name: value.removeprefix("http://") for name, value in local_bigquery.environ.items()}
    clients = warehouses.connect(settings.read(WarehouseSettings, bare | {"DATA_SET": "d"}))

    assert Catalog(clients).has_dataset("surely_not") is False


@pytest.fixture
def nowhere():
    """Clients of a BigQuery where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    environ = {"PROJECT_ID": "local", "DATA_SET": "d", "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{port}"}
    return warehouses.connect(
        settings.read(WarehouseSettings, environ | {"BIGQUERY_STORAGE_EMULATOR_HOST": f"127.0.0.1:{port}"})
    )


def test_every_write_to_a_bigquery_that_is_away_is_unclear_at_once(nowhere):
    writer = Writer(nowhere)
    stream = "projects/local/datasets/d/tables/t/streams/s"

    for ask in (
        lambda: writer.create_stream("d.t"),
        lambda: writer.write(TABLE, stream, 0, [row(1)]),
        lambda: writer.finalize(stream),
    ):
        with pytest.raises(WarehouseUnclearError):
            ask()


class PatientRest:
    """Google's REST client as far as it can be asked for patience: it notes how long each call would try again."""

    def __init__(self) -> None:
        self.seconds: dict[str, object] = {}

    def __getattr__(self, name: str) -> object:
        def call(*_: object, **options: object) -> SimpleNamespace:
            self.seconds[name] = getattr(options.get("retry"), "_timeout", None)
            raise ConnectionError(f"{name}: nobody there")

        return call


def test_every_other_call_stops_trying_after_half_a_minute():
    rest = PatientRest()
    clients = Clients(project="local", location="US", rest=rest, write=None)
    catalog, asked = Catalog(clients), Queries(clients, "d")

    for ask in (
        lambda: catalog.has_dataset("d"),
        lambda: catalog.create_dataset("d", ""),
        lambda: catalog.find("d.t"),
        lambda: catalog.create(TABLE),
        lambda: asked.select("SELECT 1", LIMIT),
        lambda: asked.landed("d.t", "eid", ["e1"], 0, 1, timed=True),
    ):
        with pytest.raises(WarehouseUnclearError):
            ask()

    assert rest.seconds == dict.fromkeys(
        ["get_dataset", "create_dataset", "get_table", "create_table", "query", "query_and_wait"], 30
    )


def test_an_unreachable_bigquery_stops_the_start_with_a_line_that_names_the_project():
    clients = Clients(project="elsewhere", location="US", rest=PatientRest(), write=None)

    with pytest.raises(MisconfiguredError, match=re.escape("PROJECT_ID=elsewhere: BigQuery cannot be used: ")):
        warehouses.clients.check(clients, "beacons")
    warehouses.clients.check_location(clients, "beacons")


def test_a_dataset_elsewhere_than_bq_location_stops_the_start_with_a_line_that_names_both(warehouse):
    warehouse.catalog.create_dataset(warehouse.settings.dataset, "here")
    elsewhere = replace(warehouse.clients, location="asia-northeast1")

    for check in (warehouses.clients.check, warehouses.clients.check_location):
        with pytest.raises(MisconfiguredError, match=r"BQ_LOCATION=asia-northeast1: the dataset .* is in US"):
            check(elsewhere, warehouse.settings.dataset)
