"""What strangers wrote comes out as text that can be seen: no control, no turn of direction, no half character."""

import json
import re

import orjson
from hypothesis import given
from hypothesis import strategies as st

from management.console.shown import DEEPEST, VALUE_CHARACTERS, row, shown, shown_line
from management.console.stream import Heard
from oceanus import records

EID = "019a4b6e-3c00-7abc-8def-0123456789ab"
HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
TEXTS = st.text(st.characters(exclude_categories=[]), max_size=60)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def heard(**members: object) -> Heard:
    record = {"v": 1, "eid": EID, "dt": "2026-11-23 07:21:25.635000", **members}
    return Heard(1, "shop", records.encode(record))


@given(VALUES)
def test_whatever_a_value_is_the_page_gets_json_in_which_nothing_hides(value):
    told = orjson.dumps(shown(value)).decode()

    assert not HIDDEN.search(json.dumps(json.loads(told), ensure_ascii=False))


@given(TEXTS, TEXTS)
def test_a_row_of_the_list_hides_nothing_and_is_short(title, event):
    told = row(heard(tit=title.encode("utf-8", "replace").decode(), evt=event.encode("utf-8", "replace").decode()))

    assert not HIDDEN.search(json.dumps(told, ensure_ascii=False))
    assert len(told["event"]) <= 32


def test_markup_and_addresses_stay_the_text_that_they_are():
    told = row(heard(evt="pageview", tit="<script>alert(1)</script>", url="javascript:alert(1)", ref="\u202egnp.exe"))

    assert told["says"] == [
        ["tit", "<script>alert(1)</script>"],
        ["url", "javascript:alert(1)"],
        ["ref", "\\u202egnp.exe"],
    ]


def test_what_is_long_or_deep_is_cut_and_a_number_keeps_its_digits():
    deep: object = "x"
    for _ in range(DEEPEST + 20):
        deep = [deep]

    assert len(shown_line("x" * 10**6)) == VALUE_CHARACTERS + 1
    assert orjson.dumps(shown(deep))
    assert shown({"n": 2**60, "m": 2**50}) == {"n": str(2**60), "m": 2**50}
    assert len(json.dumps(row(heard(tit="y" * 10_000, url="z" * 10_000))["says"])) < 400


def test_a_text_that_is_no_record_is_a_row_that_says_so():
    told = row(Heard(3, "shop", b"[1]"))

    assert (told["eid"], told["says"]) == (None, [["", "is no record: is JSON, but no object"]])
