"""Batches: every row of a claim gets one flag, and what is kept is one table's, small enough, and the oldest."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oceanus import records, tables
from oceanus.ledger import Count, counts
from oceanus.records import Failed
from oceanus.tables import Column, Naming, Table
from r2bq import batches

NOW_US = 1_795_342_020_000_000
PLENTY = 10**9
COLUMNS = (Column("dt", "TIMESTAMP", "REQUIRED"), Column("tit"), Column("eid", "STRING", "REQUIRED"))


def table_of(record: records.Record) -> Table:
    """Return the day's table of a record."""
    return Table(path=f"d.shop_{records.day(record['dt'])}", columns=COLUMNS, description="")


def raw(number: int, day: int = 22, **fields: object) -> bytes:
    """Return a record of November 2026 as text; `number` is its digest."""
    eid = f"019ab111-6d02-7800-8000-0000{number:08x}"
    return records.encode({"v": 1, "eid": eid, "dt": f"2026-11-{day:02} 10:07:00", "tit": "t"} | fields)


def read(rows: list[bytes], max_bytes: int = PLENTY) -> batches.Batch | None:
    return batches.read(rows, "shop", table_of, "eid", max_bytes, NOW_US, strict=lambda path: True)


GARBAGE = st.binary(max_size=20) | st.just(b"{}") | st.just(raw(1, v="1")) | st.just(raw(1, other="no column"))
GOOD = st.builds(raw, st.integers(0, 2**32 - 1), st.integers(20, 22), tit=st.text(max_size=30))
CLAIM = st.lists(GOOD | GARBAGE, min_size=1, max_size=30)


def is_good(text: bytes) -> bool:
    """Say whether a row of these strategies is a record that its table takes."""
    try:
        record = records.decode(text)
        tables.row(table_of(record), record)
    except records.NotARecordError:
        return False
    return not tables.undeclared(table_of(record), record)


@given(CLAIM, st.integers(1, 1500))
def test_every_row_gets_one_flag_and_those_set_aside_are_those_that_are_no_records(rows, max_bytes):
    batch = read(rows, max_bytes)

    assert len(batch.flags) == len(rows)
    assert set(batch.flags) <= {"k", "b", "f"}
    assert [flag == "f" for flag in batch.flags] == [not is_good(text) for text in rows]
    assert [one.raw for one in batch.failed] == [
        text.decode(errors="backslashreplace") for text in rows if not is_good(text)
    ]


@given(st.lists(GOOD | GARBAGE | st.just(raw(1, v=2)), min_size=1, max_size=30))
def test_rows_of_a_newer_release_step_aside_or_go_back_and_change_nothing_else(rows):
    others = [text for text in rows if b'"v":2' not in text]
    flags = "".join(batches.read(others, "shop", table_of, "eid", PLENTY, NOW_US).flags) if others else ""

    for newer in ("w", "b"):
        batch = batches.read(rows, "shop", table_of, "eid", PLENTY, NOW_US, newer=newer)
        assert [flag for flag, text in zip(batch.flags, rows, strict=True) if b'"v":2' in text] == [newer] * (
            len(rows) - len(others)
        )
        assert "".join(flag for flag, text in zip(batch.flags, rows, strict=True) if b'"v":2' not in text) == flags
        assert bool(batch.newer) == (len(others) < len(rows))


@given(CLAIM, st.integers(1, 1500))
def test_what_is_kept_is_of_one_table_and_within_the_bytes_and_in_order(rows, max_bytes):
    batch = read(rows, max_bytes)

    kept = [text for text, flag in zip(rows, batch.flags, strict=True) if flag == "k"]
    found = [records.decode(text) for text in kept]
    assert batch.rows == [tables.row(batch.table, record) for record in found]
    assert batch.received_us == records.receipts(found)
    assert batch.settled == counts("s", found)
    assert all(table_of(record) == batch.table for record in found)
    assert len(kept) <= 1 or sum(map(len, kept)) <= max_bytes


@given(CLAIM, st.integers(1, 1500))
def test_the_oldest_record_is_always_kept_and_names_the_table(rows, max_bytes):
    batch = read(rows, max_bytes)

    oldest = next((place for place in reversed(range(len(rows))) if is_good(rows[place])), None)
    if oldest is None:
        assert batch.flags == "f" * len(rows)
        assert (batch.rows, batch.received_us, batch.settled) == ([], [], [])
    else:
        assert batch.flags[oldest] == "k"
        assert batch.table == table_of(records.decode(rows[oldest]))


@given(CLAIM, st.integers(1, 1500))
def test_what_was_kept_is_kept_whole_when_it_is_read_again(rows, max_bytes):
    batch = read(rows, max_bytes)
    kept = [text for text, flag in zip(rows, batch.flags, strict=True) if flag == "k"]

    again = read(kept, max_bytes)

    assert again is None if not kept else again.is_whole


@given(st.lists(GOOD, min_size=1, max_size=10), st.integers(0, 9), st.sampled_from((b"{}", raw(1, tit=5))))
def test_a_claim_of_plain_records_is_read_as_one_with_an_odd_one_beside_them(rows, place, odd):
    """One odd row makes all be looked at one by one; the others must come out the same."""
    rows = [text for text in rows if records.day(records.decode(text)["dt"]) == "20261122"]
    together = read(rows)
    mixed = [*rows[:place], odd, *rows[place:]]

    alone = read(mixed)

    if together is None:
        return
    others = [row for row, text in zip(alone.rows, _kept(mixed, alone), strict=True) if text is not odd]
    assert together.rows == others
    assert together.flags == "k" * len(rows)


def _kept(rows: list[bytes], batch: batches.Batch) -> list[bytes]:
    return [text for text, flag in zip(rows, batch.flags, strict=True) if flag == "k"]


def test_plain_records_are_asked_for_their_table_once_a_day():
    asked = []

    def asking(record: records.Record) -> Table:
        asked.append(record["dt"])
        return replace(table_of(record), path="d.shop")

    batch = batches.read([raw(n, 20 + n % 3) for n in range(300)], "shop", asking, "eid", PLENTY, NOW_US)

    assert (batch.flags, len(batch.rows)) == ("k" * 300, 300)
    assert sorted(asked) == [f"2026-11-{day} 10:07:00" for day in (20, 21, 22)]


def test_no_rows_are_no_batch():
    assert read([]) is None


def test_rows_of_one_table_are_a_whole_batch():
    batch = read([raw(2), raw(1)])

    assert batch == batches.Batch(
        table=table_of({"dt": "2026-11-22"}),
        flags="kk",
        rows=[
            {"dt": NOW_US, "tit": "t", "eid": "019ab111-6d02-7800-8000-000000000002"},
            {"dt": NOW_US, "tit": "t", "eid": "019ab111-6d02-7800-8000-000000000001"},
        ],
        received_us=[records.received_us("019ab111-6d02-7000-8000-000000000000")] * 2,
        settled=[Count(minute="202611221007", kind="s", records=2, digest=3)],
    )
    assert batch.is_whole


def test_rows_of_another_table_go_back():
    batch = read([raw(4, 23), raw(3, 22), raw(2, 23), raw(1, 22)])

    assert (batch.table.name, batch.flags) == ("shop_20261122", "bkbk")


def test_what_came_last_is_too_much():
    size = len(raw(1))

    assert [read([raw(3), raw(2), raw(1)], bytes_).flags for bytes_ in (1, 2 * size - 1, 2 * size, 3 * size)] == [
        "bbk",
        "bbk",
        "bkk",
        "kkk",
    ]


def test_a_row_without_a_column_is_a_failed_record_with_its_text_and_its_reason():
    bad = raw(7, other="x")

    batch = read([raw(2), bad, raw(1)])

    [failed] = batch.failed
    assert failed == Failed(
        fid=failed.fid,
        dt="2026-11-22 10:07:00",
        site="shop",
        stage="write",
        reason=f"other: no column of {table_of(records.decode(bad)).path}",
        raw=bad.decode(),
        eid="019ab111-6d02-7800-8000-000000000007",
    )
    assert records.received_us(failed.fid) == NOW_US
    assert batch.counts == [Count(minute="202611221007", kind="f", records=1, digest=7)]


@pytest.mark.parametrize(
    ("text", "reason", "kept"),
    [
        (b"\xff\x00{", "record: is not JSON: ", "\\xff\x00{"),
        (b"[1]", "record: is JSON, but no object", "[1]"),
        (b"{}", "record: has format version None; this release reads 1", "{}"),
    ],
)
def test_what_is_no_record_is_set_aside_with_its_text_and_without_a_count(text, reason, kept):
    batch = read([text])

    [failed] = batch.failed
    assert (batch.flags, batch.counts, batch.rows) == ("f", [], [])
    assert failed.reason.startswith(reason)
    assert replace(failed, reason="", fid="") == Failed(
        fid="", dt="2026-11-22 10:07:00", site="shop", stage="write", reason="", raw=kept, eid=None
    )


def test_a_failed_record_that_its_table_cannot_take_is_set_aside_too():
    strange = {"v": 1, "fid": records.mint(NOW_US), "dt": "2026-11-22 10:07:00", "eid": None, "later": "x"}
    raw_rows = [records.encode(strange), records.encode({**strange, "later": None, "eid": 5, "raw": {"a": 1}})]

    batch = batches.read(
        raw_rows, "shop", lambda _: Naming("d").failed, "fid", PLENTY, NOW_US, strict=lambda path: True
    )

    assert batch.flags == "ff"
    assert [(one.reason, one.eid) for one in batch.failed] == [
        ("later: no column of d_failed.failed", None),
        ("raw: is no text", None),
    ]


def test_a_reason_is_cut_and_a_text_is_not():
    failed = batches.refused("shop", b"x" * 10_000, None, "y" * 10_000, NOW_US)

    assert (len(failed.reason), len(failed.raw)) == (1000, 10_000)


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(20, 22)), max_size=30))
def test_the_ledgers_lines_count_every_record_in_its_minute_once(told):
    found = [records.decode(raw(number, day)) for number, day in told]

    lines = counts("s", found)

    assert {(one.minute, one.kind): (one.records, one.digest) for one in lines} == {
        (f"202611{day}1007", "s"): (
            sum(other == day for _, other in told),
            sum(number for number, other in told if other == day),
        )
        for _, day in told
    }
    assert len(lines) == len({one.minute for one in lines})


@given(st.sets(st.integers(0, 9)))
def test_flags_mark_the_places_they_are_told(places):
    flags = batches.flags_of(10, places, "f", "k")

    assert {place for place, flag in enumerate(flags) if flag == "f"} == places
    assert len(flags) == 10
