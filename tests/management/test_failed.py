"""What is asked of the failed table, and how a row of it is shown."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from management import failed
from management.failed import Row, Wanted
from oceanus import records
from oceanus.records import DAY_US

NOW_US = 1_795_000_000_000_000
FID = records.mint(NOW_US)


def row(**changes: object) -> Row:
    told = {"fid": FID, "dt_us": NOW_US, "site": "shop", "stage": "rules", "reason": "r", "eid": None, "raw": "{}"}
    return Row(**(told | changes))


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("30m", NOW_US - 1_800_000_000),
        ("24h", NOW_US - DAY_US),
        (" 7d ", NOW_US - 7 * DAY_US),
        ("2026-11-20", 1_795_132_800_000_000),
        ("2026-11-20T00:00:00+09:00", 1_795_132_800_000_000 - 32_400_000_000),
    ],
)
def test_since_is_a_while_ago_a_day_or_a_time(text, us):
    assert failed.since_us(text, NOW_US) == us


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "0h", "24 h", "yesterday", "2026-13-01", "1234567h"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="is no time such as"):
        failed.since_us(text, NOW_US)


@settings(deadline=None)
@given(st.text(), st.text(), st.sampled_from(["rules", "write"]), st.integers(0, 2**50))
def test_no_text_of_an_operator_becomes_sql(site, reason, stage, since):
    where, values = Wanted(site=site, reason=reason, stage=stage, since_us=since).where()

    same, _ = Wanted(site="", reason="", stage="rules", since_us=0).where()
    assert where == same
    assert values == {"site": site, "reason": reason, "stage": stage, "since": since}


def test_ids_are_looked_for_about_their_own_time_alone():
    where, values = Wanted(fids=(FID,)).where()

    assert "dt BETWEEN" in where
    assert values == {"fids": [FID], "first": NOW_US - DAY_US, "last": NOW_US + DAY_US}


@settings(deadline=None)
@given(st.text(), st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)))
def test_a_row_is_read_as_it_stands_and_what_is_missing_is_empty(raw, dt):
    moment = dt.replace(tzinfo=UTC)
    [found, bare] = failed.rows(
        [(FID, moment, "shop", "rules", "r", None, raw), (FID, None, None, None, None, None, None)]
    )

    assert found == row(dt_us=(moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1), raw=raw)
    assert bare == row(dt_us=0, site="", stage="", reason="", raw="")


@settings(deadline=None)
@given(st.text())
def test_a_page_obeys_no_control_character_of_a_visitor(raw):
    for text in (raw, json.dumps({"sent": raw}), json.dumps({"sent": raw}, ensure_ascii=False)):
        lines = list(failed.page(failed.told(row(raw=text, reason=raw), None, "would be sent")))

        assert not [line for line in lines if any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in line)]


def test_a_page_says_each_thing_in_a_line_and_shows_json_readably():
    lines = list(failed.page(failed.told(row(raw='{"a":"日本"}'), NOW_US // 1000, "was sent before")))

    assert lines == [
        f"fid: {FID}",
        "time: 2026-11-18T11:06:40Z",
        "site: shop",
        "stage: rules (arms rejected it: it was never accepted)",
        "reason: r",
        "eid: none",
        "sent again: 2026-11-18T11:06:40Z",
        "retry: was sent before",
        "raw:",
        "  {",
        '    "a": "日本"',
        "  }",
    ]
