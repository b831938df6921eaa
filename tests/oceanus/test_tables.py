"""Tables: a record's table follows its dt, its row is what the columns take, and what they cannot take is refused."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oceanus import records, sites, tables
from oceanus.errors import NotARecordError
from oceanus.tables import Column, Naming, Table

SAMPLE = sites.load(str(sites.SAMPLE))
NAMING = Naming("beacons", "x_")
EID = "019ab111-6d02-7800-8000-00000000000a"
DT = "2026-11-22 10:00:00.000001"
DT_US = 1_795_341_600_000_001
TYPED = Table(
    path="d.t",
    description="",
    columns=(
        Column("dt", "TIMESTAMP", "REQUIRED"),
        Column("text"),
        Column("jsn", "JSON"),
        Column("count", "INT64"),
        Column("price", "FLOAT64"),
        Column("paid", "BOOL"),
        Column("eid", "STRING", "REQUIRED"),
    ),
)


def record(**fields: object) -> records.Record:
    return {"v": 1, "eid": EID, "dt": DT} | fields


@pytest.mark.parametrize(
    ("dt", "daily"),
    [
        ("2026-11-22 23:59:59.999999", "beacons.x_skj_20261122"),
        ("2026-11-23 00:00:00", "beacons.x_skj_20261123"),
        ("2026-12-31 23:59:59.999999", "beacons.x_skj_20261231"),
        ("2027-01-01 00:00:00.000001", "beacons.x_skj_20270101"),
    ],
)
def test_a_record_s_table_is_that_of_the_utc_day_of_its_dt(dt, daily):
    assert NAMING.path(SAMPLE["skj"], dt) == daily
    assert NAMING.path(SAMPLE["bizocean"], dt) == "beacons.x_bizocean"


@given(st.integers(0, 4_000_000_000_000_000))
def test_the_wanted_table_of_a_record_has_the_path_of_the_record(micros):
    dt = records.time_text(micros)

    assert [NAMING.table(site, dt).path for site in SAMPLE.values()] == [
        NAMING.path(site, dt) for site in SAMPLE.values()
    ]


def test_a_path_is_dataset_and_table():
    table = NAMING.table(SAMPLE["bizocean"], DT)

    assert (table.dataset, table.name) == ("beacons", "x_bizocean")


def test_the_daily_form_is_all_text_with_the_original_s_modes_and_no_partitions():
    table = NAMING.table(SAMPLE["skj"], DT)

    assert {column.type for column in table.columns} == {"STRING"}
    assert {column.name for column in table.columns if column.mode == "REQUIRED"} == {"dt", "oid", "sid", "rad", "evt"}
    assert (table.partition, table.cluster) == (None, ())


def test_the_partitioned_form_is_typed_divided_by_dt_and_clustered():
    table = NAMING.table(SAMPLE["bizocean"], DT)

    kinds = {column.name: (column.type, column.mode) for column in table.columns}

    assert (kinds["dt"], kinds["jsn"], kinds["eid"]) == (
        ("TIMESTAMP", "REQUIRED"),
        ("JSON", "NULLABLE"),
        ("STRING", "REQUIRED"),
    )
    assert (table.partition, table.cluster, table.key) == ("dt", ("evt", "sid"), "eid")
    assert table.labels == {"managed_by": "oceanus", "site": "bizocean"}


@pytest.mark.parametrize(("form", "kind"), [("partitioned", "JSON"), ("daily", "STRING")])
def test_parameters_that_no_field_declares_have_a_column_where_the_site_says_so(form, kind):
    text = sites.SAMPLE.read_text().split("\nsites:")[0]
    site = sites.parse(f"{text}\nsites: {{a: {{method: gaze, shape: mail, unknown: rest, table: {{form: {form}}}}}}}")[
        "a"
    ]

    columns = {column.name: (column.type, column.mode) for column in NAMING.table(site, DT).columns}

    assert columns["rest"] == (kind, "NULLABLE")


def test_only_the_daily_form_wants_a_table_of_tomorrow():
    now = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)

    wanted = [
        [table.name for table in NAMING.tables(SAMPLE[name], now, tomorrow)]
        for name in ("skj", "bizocean")
        for tomorrow in (None, date(2027, 1, 1))
    ]

    assert wanted == [["x_skj_20261231"], ["x_skj_20261231", "x_skj_20270101"], ["x_bizocean"], ["x_bizocean"]]


def test_the_failed_table_stands_in_a_dataset_of_its_own_and_can_refuse_nothing():
    failed = NAMING.failed

    assert failed.path == "beacons_failed.failed"
    assert {column.mode for column in failed.columns} == {"NULLABLE"}
    assert {column.name: column.type for column in failed.columns if column.type != "STRING"} == {"dt": "TIMESTAMP"}
    assert (failed.partition, failed.key, failed.expiry_days) == ("dt", "fid", tables.FAILED_EXPIRY_DAYS)


def test_every_failed_record_has_a_row():
    failed = records.Failed(fid=EID, dt=DT, site="s", stage="write", reason="r", raw="\x00{", eid=None)

    row = tables.row(NAMING.failed, records.decode(failed.encode(), key="fid"))

    assert row == {"fid": EID, "dt": DT_US, "site": "s", "stage": "write", "reason": "r", "raw": "\x00{"}


def test_every_column_is_described():
    every = [NAMING.failed, NAMING.audit, *(NAMING.table(site, DT) for site in SAMPLE.values())]

    assert [(table.path, column.name) for table in every for column in table.columns if not column.description] == []


def test_the_id_column_does_not_make_two_tables_differ():
    assert Table(path="d.t", columns=(), description="", key="a") == Table(
        path="d.t", columns=(), description="", key="b"
    )


def test_a_row_has_each_value_as_the_write_api_takes_it():
    row = tables.row(TYPED, record(text="é", jsn='{"a":1}', count=-(2**63), price=1, paid=False))

    assert row == {
        "dt": DT_US,
        "eid": EID,
        "text": "é",
        "jsn": '{"a":1}',
        "count": -(2**63),
        "price": 1,
        "paid": False,
    }


def test_what_a_record_does_not_have_is_null():
    assert tables.row(TYPED, record(text=None, gone=None)) == {"dt": DT_US, "eid": EID}


def test_a_text_column_takes_every_plain_value_as_text():
    daily = NAMING.table(SAMPLE["skj"], DT)
    plain = {"oid": 2, "sid": True, "rad": 1.5, "evt": "x", "jsn": '{"a":1}'}

    row = tables.row(daily, record(**plain))

    assert row == {"dt": DT, "eid": EID, "oid": "2", "sid": "true", "rad": "1.5", "evt": "x", "jsn": '{"a":1}'}


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("text", ["a"], "text: is no text"),
        ("jsn", "{", "jsn: is not JSON"),
        ("jsn", {"a": 1}, "jsn: is not JSON"),
        ("count", "5", "count: is no whole number of 64 bits"),
        ("count", 1.0, "count: is no whole number of 64 bits"),
        ("count", True, "count: is no whole number of 64 bits"),
        ("count", 2**63, "count: is no whole number of 64 bits"),
        ("price", "1.5", "price: is not of the column's type"),
        ("price", True, "price: is not of the column's type"),
        ("paid", 1, "paid: is not of the column's type"),
        ("dt", "now", "dt: is no time"),
    ],
)
def test_what_a_column_cannot_take_is_refused_with_its_name(name, value, sentence):
    with pytest.raises(NotARecordError) as caught:
        tables.row(TYPED, record() | {name: value})

    assert str(caught.value).startswith(sentence)


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.lists(st.text(), max_size=2)
)


@given(st.dictionaries(st.sampled_from(["text", "jsn", "count", "price", "paid", "gone"]), VALUES))
def test_a_row_loses_no_value_but_those_it_names_or_the_record_is_refused(fields):
    given_names = {name for name, value in fields.items() if value is not None}
    names, refused = {"dt", "eid"} | given_names, ""
    try:
        names = set(tables.row(TYPED, record(**fields))) | tables.undeclared(TYPED, record(**fields))
    except NotARecordError as exc:
        refused = str(exc)

    assert names == {"dt", "eid"} | given_names
    assert refused.partition(":")[0] in given_names | {""}


PLAIN = {
    "dt": st.sampled_from((DT, "2026-11-22 10:00:00")),
    "text": st.none() | st.text(),
    "jsn": st.none() | st.sampled_from(('{"a":[1.5,"x"]}', "1", "null", '"\\u0000"')),
    "count": st.none() | st.integers(-(2**63), 2**63 - 1),
    "price": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1),
    "paid": st.none() | st.booleans(),
    "eid": st.just(EID),
}
ODD = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.lists(st.integers(), max_size=2)
    | st.sampled_from((DT, "2026-11-22", "2026-11-22T10:00:00+01:00", "{", "[1e999]", "[" * 600 + "]" * 600, {"a": 1}))
)
GOOD = st.fixed_dictionaries({"v": st.just(1)}, optional=PLAIN | {"received": st.integers(0)})
MIXED = st.fixed_dictionaries({"v": st.just(1)}, optional=dict.fromkeys([*PLAIN, "received", "more"], ODD))


def rows_one_by_one(found):
    """Return what `row` and `undeclared` make of each record; None where one is refused or not complete."""
    if any(tables.undeclared(TYPED, one) for one in found):
        return None
    try:
        return [tables.row(TYPED, one) for one in found]
    except NotARecordError:
        return None


def without_none(rows):
    """Return rows without the members that count as missing."""
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


@given(st.lists(GOOD | MIXED, max_size=4))
def test_rows_that_are_made_together_are_what_they_are_one_by_one(found):
    alone = rows_one_by_one(found)

    together = tables.plain_rows(TYPED, found)

    if together is not None:
        assert without_none(together) == alone


@given(st.lists(GOOD, max_size=4))
def test_rows_of_plain_values_are_made_together(found):
    alone = rows_one_by_one(found)

    assert without_none(tables.plain_rows(TYPED, found)) == alone


def test_a_value_that_comes_often_is_looked_at_once(monkeypatch):
    seen = []
    monkeypatch.setattr(tables.orjson, "loads", seen.append)

    rows = tables.plain_rows(TYPED, [record(jsn='{"a":1}') for _ in range(100)])

    assert len(rows) == 100
    assert seen == ['{"a":1}']
