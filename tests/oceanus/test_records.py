"""Records: ids carry their time and sort by it, times go to text and back, and what is no record is refused."""

import uuid
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oceanus import records
from oceanus.errors import NotARecordError

MICROS = st.integers(0, 253_402_300_799_999_999)  # 1970 to the end of 9999
RECORD = {"v": 1, "eid": "019ab111-6d02-7800-8000-00000000000a", "dt": "2026-11-22 10:00:00.000001", "oid": "2"}


@given(MICROS)
@example(1_764_000_000_000_999)
def test_an_event_id_is_a_uuid_of_version_7_with_the_time_in_its_first_48_bits(micros):
    minted = uuid.UUID(records.mint(micros))

    assert (minted.version, minted.variant) == (7, uuid.RFC_4122)
    assert minted.int >> 80 == micros // 1000


@given(MICROS, MICROS)
@example(1_764_000_000_000_000, 1_764_000_000_000_001)
def test_event_ids_sort_by_their_microsecond(one, other):
    earlier, later = sorted((one, other))

    assert earlier == later or records.mint(earlier) < records.mint(later)


@given(MICROS)
def test_the_receive_time_is_read_from_an_event_id_to_the_microsecond(micros):
    assert abs(records.received_us(records.mint(micros)) - micros) <= 1


def test_an_event_id_without_a_given_time_is_of_now():
    before = datetime.now(UTC)

    minted = records.received_us(records.mint())

    assert abs(datetime.fromtimestamp(minted / 1e6, UTC) - before) < timedelta(seconds=10)


def test_event_ids_of_one_microsecond_differ():
    minted = {records.mint(1_764_000_000_000_000) for _ in range(10_000)}

    assert len(minted) == 10_000


def test_the_digest_is_the_last_32_bits():
    assert records.digest("019ab111-6d02-7800-8000-0000fffffffe") == 0xFFFFFFFE


@given(MICROS)
def test_the_digest_is_the_id_modulo_2_to_the_32(micros):
    eid = records.mint(micros)

    assert records.digest(eid) == uuid.UUID(eid).int % 2**32


@given(MICROS)
@example(1_764_000_000_000_000)
def test_a_time_goes_to_text_and_back(micros):
    text = records.time_text(micros)

    assert records.time_us(text) == micros
    assert len(text) == (26 if micros % 1_000_000 else 19)


def test_a_time_text_is_utc_with_the_fraction_missing_when_0():
    assert [records.time_text(micros) for micros in (0, 1, 1_764_547_199_999_999, 1_764_547_200_000_000)] == [
        "1970-01-01 00:00:00",
        "1970-01-01 00:00:00.000001",
        "2025-11-30 23:59:59.999999",
        "2025-12-01 00:00:00",
    ]


@pytest.mark.parametrize(
    ("given_text", "means"),
    [
        ("2026-11-22T10:00:00Z", "2026-11-22 10:00:00"),
        ("2026-11-22T10:00:00.5+09:00", "2026-11-22 01:00:00.500000"),
        ("2026-11-22 10:00:00.000001", "2026-11-22 10:00:00.000001"),
    ],
)
def test_a_given_time_counts_its_zone_and_is_utc_without_one(given_text, means):
    assert records.time_text(records.given_time_us(given_text)) == means


@pytest.mark.parametrize("text", ["", "now", "1764000000", "2026-13-01", "2026-11-22T25:00:00"])
def test_a_given_time_that_is_none_is_a_value_error(text):
    with pytest.raises(ValueError):
        records.given_time_us(text)


@given(MICROS)
def test_minute_and_day_are_those_of_the_utc_time(micros):
    text = records.time_text(micros)

    assert (records.minute(text), records.day(text)) == (
        text[:16].translate({45: "", 58: "", 32: ""}),
        text[:10].replace("-", ""),
    )


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")) | st.none()))
def test_a_record_goes_to_text_and_back(fields):
    record = fields | RECORD

    raw = records.encode(record)

    assert records.decode(raw) == record
    assert b"\n" not in raw


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"v": 2}, "has format version 2, and this release reads 1"),
        ({"v": None}, "has format version None; this release reads 1"),
        ({"eid": None}, "has no id (eid)"),
        ({"eid": 5}, "has no id (eid)"),
        ({"eid": "019ab111-6d02-4800-8000-00000000000a"}, "has no id (eid)"),
        ({"eid": "019AB111-6D02-7800-8000-00000000000A"}, "has no id (eid)"),
        ({"eid": RECORD["eid"] + "\n"}, "has no id (eid)"),
        ({"dt": None}, "has no time (dt)"),
        ({"dt": 5}, "has no time (dt)"),
        ({"dt": "2026-11-22"}, "has no time (dt)"),
        ({"dt": "2026-11-22T10:00:00"}, "has no time (dt)"),
        ({"dt": "2026-13-22 10:00:00"}, "has no time (dt)"),
        ({"dt": "2026-11-22 10:00:00.1"}, "has no time (dt)"),
        ({"dt": "2026-W01-1 10:00:00"}, "has no time (dt)"),
        ({"dt": "2026-11-22 10:00+05"}, "has no time (dt)"),
        ({"dt": "2026-11-22 10:00:00.123+05"}, "has no time (dt)"),
        ({"dt": "2026-11-22 10:00:00,123456"}, "has no time (dt)"),
        ({"dt": "2026-11-22 10:00:0٣"}, "has no time (dt)"),
    ],
)
def test_what_is_no_record_is_refused_with_a_sentence(change, sentence):
    with pytest.raises(NotARecordError) as caught:
        records.decode(orjson.dumps(RECORD | change))

    assert str(caught.value) == sentence


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[1]", b"5", b'"text"', b"null", b"[" * 5000])
def test_what_is_no_json_object_is_refused(raw):
    with pytest.raises(NotARecordError, match=r"^is (not JSON: |JSON, but no object)"):
        records.decode(raw)


@given(
    st.binary() | st.recursive(st.none() | st.integers(-9, 9) | st.text(max_size=5), st.lists).map(repr).map(str.encode)
)
def test_any_bytes_are_a_record_or_refused(raw):
    with pytest.raises(NotARecordError):
        records.decode(raw)


def test_a_failed_record_is_read_by_its_own_id():
    failed = records.Failed(
        fid=records.mint(),
        dt="2026-11-22 10:00:00",
        site="shop",
        stage="rules",
        reason="evt: required field",
        raw="sid=a",
    )

    decoded = records.decode(failed.encode(), key="fid")

    assert decoded == {
        "v": 1,
        "fid": failed.fid,
        "dt": "2026-11-22 10:00:00",
        "site": "shop",
        "stage": "rules",
        "reason": "evt: required field",
        "raw": "sid=a",
        "eid": None,
    }
    with pytest.raises(NotARecordError, match="has no id"):
        records.decode(failed.encode())


@given(st.text(max_size=20), st.text(max_size=40))
def test_a_named_id_is_a_uuid_of_version_8_and_always_the_same(site, cid):
    named = records.named(site, cid)

    parsed = uuid.UUID(named)
    assert (str(parsed), parsed.version, parsed.variant) == (named, 8, uuid.RFC_4122)
    assert records.is_named(named)
    assert not records.is_named(records.mint())
    assert records.named(site, cid) == named != records.named(site + "x", cid)


def test_a_record_with_a_named_id_tells_when_it_was_received():
    named = {"v": 1, "eid": records.named("shop", "ab"), "dt": "2026-11-22 10:00:00"}

    with pytest.raises(NotARecordError, match="receive time"):
        records.decode(records.encode(named))
    assert records.received(records.decode(records.encode(named | {"received": 7}))) == 7


def test_a_record_without_a_name_was_received_when_its_id_was_made():
    eid = records.mint(1_795_342_020_000_000)

    assert records.received({"eid": eid}) == records.received_us(eid)


NAMED = RECORD | {"eid": records.named("shop", "a" * 32), "received": 1_764_000_000_123_456}
ODD = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text() | st.lists(st.just(1))
CHANGED = st.builds(
    lambda whole, name, value: whole | {name: value},
    st.sampled_from((RECORD, NAMED)),
    st.sampled_from(("v", "eid", "dt", "received", "oid", "url")),
    ODD | st.sampled_from((1, 2, True, 1.0, "2026-11-31 10:00:00", "2026-11-22", RECORD["eid"], NAMED["eid"] + "\n")),
)
TEXTS = st.sampled_from((RECORD, NAMED)).map(orjson.dumps)
ODD_TEXTS = (
    CHANGED.map(orjson.dumps) | st.binary(max_size=8) | st.sampled_from((b"", b"{}", b"[1", b"2]", b"1", b"{}{}"))
)


@given(st.lists(TEXTS, max_size=3), st.lists(TEXTS | ODD_TEXTS, max_size=3))
@example([b"[1"], [b"2]"])
def test_texts_that_are_read_together_are_what_they_are_one_by_one(good, others):
    texts = good + others
    try:
        alone = [records.decode(text) for text in texts]
    except NotARecordError:
        alone = []

    assert records.decode_plain(texts) == (alone or None)


def test_failed_records_are_read_together_by_their_own_ids():
    failed = {"v": 1, "fid": records.mint(7), "dt": RECORD["dt"], "eid": None}

    assert records.decode_plain([orjson.dumps(failed)], "fid") == [failed]
    assert records.decode_plain([orjson.dumps(failed)]) is None


@given(
    st.lists(st.sampled_from((RECORD, NAMED)) | MICROS.map(lambda micros: {"eid": records.mint(micros)}), max_size=5)
)
def test_records_are_told_together_when_they_were_received_to_the_millisecond(found):
    assert records.receipts(found) == [records.received(one) // 1000 * 1000 for one in found]
