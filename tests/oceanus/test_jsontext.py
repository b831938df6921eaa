"""JSON as text: one canonical form that means the same and keeps every digit."""

import json
import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oceanus import jsontext

PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
NUMBERS = (
    st.integers(-(10**40), 10**40).map(str)
    | st.decimals(allow_nan=False, allow_infinity=False).map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.sampled_from(["-0", "-0.0", "1e-400", "0.10", "1.0", "9007199254740993", "0.1000000000000000055511151"])
).filter(lambda digits: not math.isinf(float(digits)))


def written(value: object, spaces: str) -> str:
    if isinstance(value, jsontext.Number):
        return str(value)
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)}{spaces}:{spaces}{written(one, spaces)}" for key, one in value.items())
        return "{" + f"{spaces},".join(pairs) + spaces + "}"
    if isinstance(value, list):
        return "[" + f",{spaces}".join(written(one, spaces) for one in value) + "]"
    return json.dumps(value)


VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS.map(jsontext.Number) | PLAIN,
    lambda deeper: st.lists(deeper, max_size=4) | st.dictionaries(PLAIN, deeper, max_size=4),
    max_leaves=12,
)
TEXTS = st.builds(written, VALUES, st.sampled_from(["", " ", "\n\t"]))


def exactly(text: str) -> object:
    """Parse with each number as its digits: equal results mean that no digit differs."""
    return json.loads(text, parse_int=lambda digits: ("number", digits), parse_float=lambda digits: ("number", digits))


def meaning(text: str) -> object:
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


@given(TEXTS)
def test_the_canonical_text_means_the_same(text):
    canonical = jsontext.canonical(text)

    assert meaning(canonical) == meaning(text)


@given(VALUES.map(lambda value: written(value, " ")))
def test_the_canonical_text_keeps_every_digit_of_a_delicate_number(text):
    delicate = text.replace("null", "12345678901234567890.10")

    canonical = jsontext.canonical(delicate)

    assert exactly(canonical) == exactly(delicate)


@given(TEXTS)
def test_the_canonical_text_of_a_canonical_text_is_itself(text):
    canonical = jsontext.canonical(text)

    assert jsontext.canonical(canonical) == canonical


@given(TEXTS)
def test_keys_are_sorted_and_spaces_gone(text):
    canonical = jsontext.canonical(text)

    keys = []
    json.loads(canonical, object_pairs_hook=lambda pairs: keys.append([key for key, _ in pairs]))
    assert keys == [sorted(group) for group in keys]
    assert json.dumps(exactly(canonical), separators=(",", ":"), ensure_ascii=False).count(" ") == canonical.count(" ")


@pytest.mark.parametrize(
    "number",
    [
        "18446744073709551616",
        "-9223372036854775809",
        "123456789012345678901234567890",
        "0.1000000000000000055511151231257827",
        "1.10",
        "1e-400",
        "1E5",
        "-0",
        "-0.0",
        "9007199254740993",
        "1.0",
    ],
)
def test_a_number_keeps_its_digits(number):
    assert jsontext.canonical(f' {{ "n" : [ {number} ] }} ') == f'{{"n":[{number}]}}'


def test_text_is_kept_as_it_means_and_not_as_it_was_escaped():
    assert jsontext.canonical('{"b":"\\u00e9\\ud83d\\ude00","a":"/\\/"}') == '{"a":"//","b":"é😀"}'


@pytest.mark.parametrize("delicate", ["", ", 1.50"])
def test_the_last_of_a_repeated_key_counts(delicate):
    assert jsontext.canonical(f'[{{"a":1,"a":2}}{delicate}]') == f'[{{"a":2}}{delicate.replace(" ", "")}]'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("{'a':1}", "is not JSON"),
        ("01", "is not JSON"),
        ("1 2", "is not JSON"),
        ("NaN", "is not JSON"),
        ("[Infinity]", "is not JSON"),
        ("[1E400]", "too large"),
        ("1" + "0" * 400, "too large"),
        ("[-Infinity, 1.5]", "is not JSON"),
        ("[NaN, 12345678901234567890]", "is not JSON"),
        ('"a\nb"', "is not JSON"),
        ('["\\u0000"]', "holds a NUL character"),
        ('{"\\u0000": 1}', "holds a NUL character"),
        ('["\\u0000", 1.50]', "holds a NUL character"),
        ('"\\ud800"', "."),
        ('["\\ud800", 1.50]', "half a surrogate pair"),
        ('{"\\udc00": 1.50}', "half a surrogate pair"),
        ('["\ud800"]', "."),
        ("[" * 501 + "]" * 501, "is nested deeper than 500 levels"),
        ("[" * 501 + "1.50" + "]" * 501, "is nested deeper than 500 levels"),
        ('{"a":' * 501 + "1" + "}" * 501, "is nested deeper than 500 levels"),
        ("[" * 100_000, "."),
        ("[" * 100_000 + "1.50" + "]" * 100_000, "is nested deeper than 500 levels"),
    ],
)
def test_what_bigquery_would_not_take_is_refused_with_a_sentence(text, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        jsontext.canonical(text)

    assert type(caught.value) is ValueError


@pytest.mark.parametrize("leaf", ["1", "1.50"])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_five_hundred_levels_are_taken(opening, closing, leaf):
    text = opening * 500 + leaf + closing * 500

    assert jsontext.canonical(text) == text


def test_many_brackets_side_by_side_are_not_deep():
    text = "[" + ",".join(["[]"] * 2000) + "]"

    assert jsontext.canonical(text) == text


def test_a_backslash_before_u0000_is_no_nul():
    assert jsontext.canonical('"\\\\u0000"') == '"\\\\u0000"'


@given(st.text())
def test_any_text_is_json_or_a_value_error(text):
    try:
        told = jsontext.canonical(text)
    except ValueError as exc:
        told = str(exc)

    assert told


@given(TEXTS)
def test_what_loads_reads_dumps_writes_canonically(text):
    assert jsontext.dumps(jsontext.loads(text)) == jsontext.canonical(text)


def test_loads_gives_a_number_as_its_digits_which_no_text_is_taken_for():
    loaded = jsontext.loads('[18446744073709551617, 1.10, "1.10"]')

    assert loaded == ["18446744073709551617", "1.10", "1.10"]
    assert [isinstance(one, jsontext.Number) for one in loaded] == [True, True, False]
    assert jsontext.dumps(loaded) == '[18446744073709551617,1.10,"1.10"]'


def test_dumps_takes_plain_values_too():
    assert jsontext.dumps({"b": [1, True, None], "a": "é"}) == '{"a":"é","b":[1,true,null]}'


@pytest.mark.parametrize("value", [{"a": "\0"}, {"a\0": 1}, {"a": "\ud800"}])
def test_dumps_refuses_what_canonical_refuses(value):
    with pytest.raises(ValueError, match=r"holds (a NUL|half)"):
        jsontext.dumps(value)
