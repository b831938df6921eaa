"""Normalisation steps do what they are called; Cerberus is the law but for patterns, which match to the end."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oceanus.rules import MAKES, STEPS, RuleValidator, is_address, step
from oceanus.schema import TYPES


def accepts(rule: dict, value: object) -> bool:
    return bool(RuleValidator({"value": rule}).validate({"value": value}))


@pytest.mark.parametrize(
    ("text", "fits"), [("abc", True), ("abc\n", False), ("xabc", False), ("abcx", False), ("", False)]
)
def test_a_pattern_matches_the_whole_value_to_its_very_end(text, fits):
    assert accepts({"type": "string", "regex": "^[a-z]{3}$"}, text) is fits
    assert accepts({"type": "string", "regex": "[a-z]{3}"}, text) is fits


def test_an_alternative_in_a_pattern_is_tried_for_the_whole_value():
    rule = {"type": "string", "regex": "a|ab"}

    assert [text for text in ("a", "ab", "b", "abc") if accepts(rule, text)] == ["a", "ab"]


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ({"type": "string", "maxlength": 3}, "abc", "abcd"),
        ({"allowed": ["a", "b"]}, "a", "c"),
        ({"type": "integer", "min": 1, "max": 5}, 5, 6),
        ({"type": "string", "empty": False}, "a", ""),
        ({"type": "string", "check_with": "address"}, "::1", "::1%eth0"),
    ],
)
def test_all_other_rules_mean_what_cerberus_says(rule, good, bad):
    assert accepts(rule, good)
    assert not accepts(rule, bad)


@given(st.ip_addresses())
def test_every_address_is_one(address):
    assert is_address(str(address))


@pytest.mark.parametrize(
    "value", ["", "unknown", "1.2.3", "1.2.3.4:80", "1.2.3.4/8", "fe80::1%eth0", " 1.2.3.4", None, 5]
)
def test_what_is_no_plain_address_is_none(value):
    assert not is_address(value)


def test_an_address_of_a_carrier_is_kept():
    shared = str(ipaddress.ip_address("100.64.0.1"))

    assert accepts({"check_with": "address"}, shared)


@pytest.mark.parametrize(
    ("name", "argument", "value", "becomes"),
    [
        ("lower", None, "AbÉ", "abé"),
        ("upper", None, "utf-8", "UTF-8"),
        ("strip", None, " a b\n", "a b"),
        ("cut", 3, "aé😀d", "aé😀"),
        ("cut", 3, "a", "a"),
        ("remove", "/", "a/b//c", "abc"),
        ("json", None, '{"b": 1, "a": [1.50]}', '{"a":[1.50],"b":1}'),
        ("json", None, {"b": 1, "a": None}, '{"a":null,"b":1}'),
        ("integer", None, "-9223372036854775808", -(2**63)),
        ("integer", None, "007", 7),
        ("number", None, "-1.5e3", -1500.0),
        ("boolean", None, "True", True),
        ("boolean", None, "0", False),
    ],
)
def test_a_step_does_what_it_is_called(name, argument, value, becomes):
    result = step(name, argument)(value)

    assert (result, type(result)) == (becomes, type(becomes))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("integer", "9223372036854775808", "must fit into 64 bits"),
        ("integer", "-9223372036854775809", "must fit into 64 bits"),
        ("integer", "1.0", "must be a whole number"),
        ("integer", "1\n", "must be a whole number"),
        ("integer", "٣", "must be a whole number"),
        ("integer", "1_000", "must be a whole number"),
        ("integer", "9" * 5000, "must be a whole number"),
        ("number", "nan", "must be a number"),
        ("number", "inf", "must be a number"),
        ("number", "1e999", "is too large a number"),
        ("boolean", "yes", "must be true or false"),
        ("json", "{", "is not JSON"),
        ("json", "NaN", "is not JSON"),
    ],
)
def test_a_step_refuses_what_it_cannot_make_with_a_sentence(name, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        step(name, None)(value)


@pytest.mark.parametrize(
    ("name", "argument"),
    [("cut", None), ("cut", 0), ("cut", True), ("cut", "5"), ("remove", None), ("remove", ""), ("shout", None)],
)
def test_a_step_that_is_not_known_or_lacks_its_argument_is_refused_with_a_sentence(name, argument):
    with pytest.raises(ValueError, match=f"normal: {name} "):
        step(name, argument)


def test_every_column_type_but_text_and_time_has_a_step_that_makes_it():
    assert set(TYPES) - set(MAKES) == {"STRING", "TIMESTAMP"}
    assert set(MAKES.values()) <= set(STEPS)


@given(st.text(), st.sampled_from(["json", "integer", "number", "boolean"]))
def test_a_step_makes_a_value_or_raises_a_value_error(text, name):
    try:
        made = step(name, None)(text)
    except ValueError as exc:
        made = str(exc)

    assert made is not None
