"""A condition says what docs/alerts.md says it does, of any record whatsoever, and never raises."""

import json
import math
import operator
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oceanus import sites
from oceanus.errors import MisconfiguredError
from revelation.conditions import always, compiled, number
from revelation.names import Names
from revelation.seen import Seen, getter

SITES = sites.parse("""
shapes:
  all:
    fields:
      dt: {from: clock, type: TIMESTAMP}
      evt: {from: query}
      low: {from: query, normal: [strip, lower, {cut: 9}]}
      url: {from: query}
      n: {from: query, normal: [integer], type: INT64}
      f: {from: query, normal: [number], type: FLOAT64}
      b: {from: query, normal: [boolean], type: BOOL}
      jsn: {from: query, normal: [json], type: JSON}
  few:
    fields:
      dt: {from: clock, type: TIMESTAMP}
      evt: {from: query}
      url: {from: query}
      jsn: {from: query}
sites:
  shop: {method: swallow, shape: all, unknown: rest}
  blog: {method: swallow, shape: few}
""")
NAMES = Names([SITES["shop"]])


def holds(when: Any, record: dict[str, Any], site: str = "shop") -> bool:
    return compiled(when, NAMES)(Seen(record, site))


def mistakes(when: Any, names: Names = NAMES) -> list[str]:
    with pytest.raises(MisconfiguredError) as caught:
        compiled(when, names)
    return caught.value.mistakes


def jsn(value: Any) -> dict[str, Any]:
    return {"jsn": json.dumps(value)}


TRUE: list[tuple[dict[Any, Any], dict[str, Any]]] = [
    ({"evt": "paid"}, {"evt": "paid"}),
    ({"evt": {"equals": "paid"}}, {"evt": "paid"}),
    ({"evt": ["paid", "refunded"]}, {"evt": "refunded"}),
    ({"evt": {"in": ["paid", 5]}}, {"evt": "5.0"}),
    ({"evt": 5}, {"evt": "5"}),
    ({"evt": 5}, {"evt": "5e0"}),
    ({"evt": 0.1}, {"evt": "0.1"}),
    ({"evt": "05"}, {"evt": "05"}),
    ({"n": 5}, {"n": 5}),
    ({"n": 5.0}, {"n": 5}),
    ({"b": True}, {"b": True}),
    ({"jsn.a": False}, jsn({"a": False})),
    ({"jsn.a": 1}, jsn({"a": 1.0})),
    ({"jsn.a": 18446744073709551617}, jsn({"a": 18446744073709551617})),
    ({"jsn.a": 9007199254740993}, jsn({"a": 9007199254740993})),
    ({"evt": {"contains": "ERROR"}}, {"evt": "js_Error_2"}),
    ({"url": {"contains": "straße"}}, {"url": "/STRASSE"}),
    ({"url": {"contains": "STRASSE"}}, {"url": "/straße"}),
    ({"url": {"matches": "^.$"}}, {"url": "\ud800"}),
    ({"evt": 9007199254740993}, {"evt": "9007199254740993"}),
    ({"jsn": {"contains": "refund"}}, jsn({"why": "refunded"})),
    ({"url": {"matches": r"^https://shop\."}}, {"url": "https://shop.example.com/"}),
    ({"url": {"matches": "b.d"}}, {"url": "a b😀d e"}),
    ({"url": {"matches": "(?i)ABC$"}}, {"url": "xabc"}),
    ({"jsn.price": {"more_than": 5}}, jsn({"price": 5.5})),
    ({"jsn.price": {"at_least": 5, "less_than": 10}}, jsn({"price": "5"})),
    ({"n": {"at_most": -1}}, {"n": -1}),
    ({"evt": {"exists": True}}, {"evt": "x"}),
    ({"n": {"exists": True}}, {"n": 0}),
    ({"b": {"exists": True}}, {"b": False}),
    ({"evt": {"exists": False}}, {}),
    ({"evt": {"exists": False}}, {"evt": ""}),
    ({"jsn.a": {"exists": False}}, jsn({"a": None})),
    ({"jsn.a": {"exists": False}}, jsn({"a": []})),
    ({"url": {"not": {"contains": "/admin"}}}, {"url": "/shop"}),
    ({"url": {"not": "x"}}, {}),
    ({"url": {"not": ["x", "y"]}}, {"url": "z"}),
    ({"url": {"not": {"not": "x"}}}, {"url": "x"}),
    ({"not": {"evt": "paid"}}, {"evt": "open"}),
    ({"any": [{"evt": "a"}, {"evt": "b"}]}, {"evt": "b"}),
    ({"all": [{"evt": "b"}, {"url": {"contains": "c"}}]}, {"evt": "b", "url": "abc"}),
    ({"evt": "b", "not": {"any": [{"url": "x"}, {"url": "y"}]}}, {"evt": "b", "url": "z"}),
    ({"site": "shop"}, {}),
    ({"site": {"contains": "ho"}}, {}),
    ({"jsn.items.1.sku": "B"}, jsn({"items": [{"sku": "A"}, {"sku": "B"}]})),
    ({"jsn.0.a": 1}, jsn([{"a": 1}])),
    ({"jsn.1": "x"}, jsn({"1": "x"})),
    ({"rest.utm": "mail"}, {"rest": '{"utm":"mail"}'}),
    ({"dt": {"contains": "2026-11"}}, {"dt": "2026-11-22 12:15:03"}),
]
FALSE: list[tuple[dict[Any, Any], dict[str, Any]]] = [
    ({"evt": "paid"}, {"evt": "unpaid"}),
    ({"evt": "paid"}, {}),
    ({"evt": 5}, {"evt": "05"}),
    ({"evt": 5}, {"evt": "+5"}),
    ({"evt": 5}, {"evt": " 5"}),
    ({"evt": 1000}, {"evt": "1,000"}),
    ({"evt": "5"}, {"evt": "5.0"}),
    ({"jsn.a": "5"}, jsn({"a": 5})),
    ({"jsn.a": 1}, jsn({"a": True})),
    ({"jsn.a": True}, jsn({"a": 1})),
    ({"jsn.a": True}, jsn({"a": "true"})),
    ({"jsn.a": [0, "x"]}, jsn({"a": False})),
    ({"jsn.a": 9007199254740993}, jsn({"a": 9007199254740992})),
    ({"evt": 9007199254740993}, {"evt": "9007199254740992"}),
    ({"jsn.a": {"contains": "x"}}, jsn({"a": ["x"]})),
    ({"jsn.a": {"more_than": 0}}, jsn({"a": True})),
    ({"jsn.a": {"more_than": 0}}, jsn({"a": "1e999"})),
    ({"jsn.a": {"more_than": 0}}, {"jsn": '{"a":'}),
    ({"jsn.a": {"exists": True}}, {"jsn": '"a"'}),
    ({"jsn.a.b.c": 1}, jsn({"a": {"b": 1}})),
    ({"jsn.5": "x"}, jsn(["x"])),
    ({"jsn.-1": "x"}, jsn(["x"])),
    ({"f": {"more_than": 0}}, {"f": math.nan}),
    ({"f": {"at_least": 0}}, {"f": math.inf}),
    ({"url": {"matches": "^shop"}}, {"url": "https://shop"}),
    ({"any": [{"evt": "a"}, {"evt": "b"}]}, {"evt": "c"}),
    ({"evt": "a", "url": "b"}, {"evt": "a", "url": "c"}),
    ({"site": "blog"}, {}),
]


@pytest.mark.parametrize(("when", "record"), TRUE)
def test_a_condition_is_true_of_what_it_says(when, record):
    assert holds(when, record) is True


@pytest.mark.parametrize(("when", "record"), FALSE)
def test_a_condition_is_false_of_all_else(when, record):
    assert holds(when, record) is False


@pytest.mark.parametrize(
    "operators", [{"equals": "x"}, {"in": ["x"]}, {"contains": "x"}, {"matches": "."}, {"at_least": 0}]
)
def test_what_is_missing_is_true_of_nothing_but_exists_false_and_not(operators):
    assert holds({"url": operators}, {}) is False
    assert holds({"url": {"not": operators}}, {}) is True
    assert holds({"not": {"url": operators}}, {}) is True


MISTAKES: list[tuple[Any, str]] = [
    (None, "must be a mapping such as {evt: paid}, not None"),
    ({}, "must be a mapping such as {evt: paid}, not {}"),
    ("evt", "must be a mapping such as {evt: paid}, not 'evt'"),
    ({"evnt": "paid"}, "'evnt' is no field of shop; known: b, dt, evt, f, jsn, low, n, rest, site, url"),
    ({5: "paid"}, "5 is no field, and no member of one such as jsn.price"),
    ({"jsn..a": 1}, "'jsn..a' is no field, and no member of one such as jsn.price"),
    ({"evt.a": 1}, "'evt.a': evt holds no JSON at shop, so that it has no members"),
    ({"site.a": 1}, "'site.a' is no field of shop; known: b, dt, evt,"),
    ({"evt": None}, "evt: is given no value; for a field that is not there write {exists: false}"),
    ({"evt": {}}, "evt: must be a value or operators: equals, in, contains, matches,"),
    ({"evt": []}, "evt: in: must be a list of values, at least one, not []"),
    ({"evt": {"in": "paid"}}, "evt: in: must be a list of values, at least one, not 'paid'"),
    ({"evt": [["paid"]]}, "evt: in: must be a text, a number, true or false, not ['paid']; put a text into quotes"),
    ({"evt": {"is": 1}}, "evt: 'is' is not known here; known: equals, in, contains, matches, more_than,"),
    ({"evt": True}, "evt: yes, no, on, off, true and false are no texts in YAML: put the text into quotes"),
    ({"n": "5"}, "n: '5' can never be: the field holds number; only texts stand in quotes"),
    ({"b": 1}, "b: 1 can never be: the field holds boolean; only texts stand in quotes"),
    ({"evt": math.nan}, "evt: must be a text, a number, true or false, not nan; put a text into quotes"),
    ({"evt": {"contains": 500}}, "evt: contains: must be a text, in quotes if it looks like a number, not 500"),
    ({"evt": {"contains": ""}}, "evt: contains: must be a text, in quotes if it looks like a number, not ''"),
    ({"n": {"contains": "5"}}, "n: contains: is for texts: the field holds number"),
    ({"evt": {"matches": "("}}, "evt: matches: RE2 does not take '(': missing ): ("),
    ({"evt": {"matches": "(?=a)"}}, "evt: matches: RE2 does not take '(?=a)': invalid perl operator: (?="),
    ({"evt": {"matches": "\ud800"}}, "evt: matches: 'utf-8' codec can't encode"),
    ({"evt": {"matches": "[^a]{900}"}}, "evt: matches: '[^a]{900}' is too large a pattern ("),
    (
        {"evt": {"matches": r"(\pL{1,30}){10}"}},
        "evt: matches: RE2 does not take '(\\\\pL{1,30}){10}': pattern too large",
    ),
    ({"n": {"more_than": "5"}}, "n: more_than: must be a number, not '5'"),
    ({"n": {"at_most": True}}, "n: at_most: must be a number, not True"),
    ({"n": {"at_most": 10**400}}, "n: at_most: must be a number, not 1000"),
    ({"b": {"at_most": 1}}, "b: at_most: can never be: the field holds true or false"),
    ({"evt": {"exists": "yes"}}, "evt: exists: must be true or false, not 'yes'"),
    ({"evt": {"exists": 1}}, "evt: exists: must be true or false, not 1"),
    ({"evt": {"not": {"is": 1}}}, "evt, not: 'is' is not known here"),
    ({"any": {"evt": "a"}}, "any: must be a list of conditions such as [{evt: paid}], not {'evt': 'a'}"),
    ({"any": []}, "any: must be a list of conditions such as [{evt: paid}], not []"),
    ({"all": [{"evt": "a"}, "b"]}, "all 2: must be a mapping such as {evt: paid}, not 'b'"),
    ({"not": {"any": [{"evt": {"is": 1}}]}}, "not, any 1, evt: 'is' is not known here"),
]


@pytest.mark.parametrize(("when", "sentence"), MISTAKES)
def test_a_mistake_in_a_condition_is_a_sentence_with_its_place(when, sentence):
    found = mistakes(when)

    assert len(found) == 1
    assert found[0].startswith(sentence)


def test_all_mistakes_of_a_condition_are_told_at_once():
    assert len(mistakes({"evnt": 1, "evt": {"is": 1, "contains": 5}, "any": [{"b": 1}]})) == 4


def test_a_field_must_be_one_of_every_site_of_the_rule_and_of_a_kind_that_one_of_them_has():
    both = Names([SITES["shop"], SITES["blog"]])

    assert mistakes({"n": 1}, both) == ["'n' is no field of blog; known: dt, evt, jsn, site, url"]
    assert mistakes({"jsn.a": 1}, both) == ["'jsn.a': jsn holds no JSON at blog, so that it has no members"]
    assert compiled({"jsn": {"contains": "a"}}, both)


def test_conditions_that_contain_themselves_are_a_mistake_and_no_endless_loop():
    deep: dict[str, Any] = {}
    deep["any"] = [deep] * 9
    negated: dict[str, Any] = {}
    negated["not"] = negated

    assert mistakes(deep) == mistakes({"evt": negated}) == ["is nested deeper than 10 levels: write it flatter"]


def test_json_is_read_once_for_all_conditions():
    seen = Seen(jsn({"a": {"b": 1}}), "shop")

    assert seen.json("jsn") is seen.json("jsn")
    assert getter("jsn.a")(seen) is seen.json("jsn")["a"]


@pytest.mark.parametrize("pattern", ["(x+x+)+y", "(.*a){20}", "(a?){60}a{60}", "^(x|xx|xxx)*$"])
def test_a_pattern_that_would_never_end_elsewhere_is_searched_at_once(pattern):
    assert holds({"url": {"matches": pattern}}, {"url": "x" * 10_000 + "!"}) is False


# --- any record, any condition


def slow(when: dict[Any, Any], record: dict[str, Any], site: str) -> bool:
    """The reference: docs/alerts.md read aloud, slowly."""
    answers = []
    for name, asked in when.items():
        if name == "not":
            answers.append(not slow(asked, record, site))
        elif name in ("any", "all"):
            each = [slow(one, record, site) for one in asked]
            answers.append(any(each) if name == "any" else all(each))
        else:
            answers.append(slow_value(asked, looked_up(name, record, site)))
    return all(answers)


def looked_up(name: str, record: dict[str, Any], site: str) -> Any:
    if name == "site":
        return site
    first, *members = name.split(".")
    value = record.get(first)
    if not members:
        return value
    try:
        value = json.loads(value)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError):
        return None
    for member in members:
        if isinstance(value, list) and re.fullmatch("[0-9]+", member) and int(member) < len(value):
            value = value[int(member)]
        elif isinstance(value, dict):
            value = value.get(member)
        else:
            return None
    return value


def slow_value(asked: Any, value: Any) -> bool:
    if isinstance(asked, dict):
        return all(slow_operator(word, operand, value) for word, operand in asked.items())
    return slow_operator("in" if isinstance(asked, list) else "equals", asked, value)


def slow_operator(word: str, operand: Any, value: Any) -> bool:
    compare = {"more_than": operator.gt, "less_than": operator.lt, "at_least": operator.ge, "at_most": operator.le}
    if word == "not":
        return not slow_value(operand, value)
    if word == "exists":
        return (value is not None and value not in ("", [], {})) == operand
    if word == "in":
        return any(slow_operator("equals", one, value) for one in operand)
    if word in compare:
        known = slow_number(value)
        return known is not None and compare[word](known, slow_number(operand))
    if word == "equals" and isinstance(operand, bool):
        return isinstance(value, bool) and value is operand
    if word == "equals" and not isinstance(operand, str):
        return slow_number(value) is not None and slow_number(value) == slow_number(operand)
    if not isinstance(value, str):
        return False
    if word == "matches":
        return re.search(operand, value) is not None
    return operand.casefold() in value.casefold() if word == "contains" else operand == value


def slow_number(value: Any) -> int | float | None:
    if isinstance(value, str):
        try:
            value = json.loads(value) if value == value.strip() else None
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not -(2**63) <= value < 2**64:
        try:
            value = float(value)
        except OverflowError:
            return None
    return value if math.isfinite(value) else None


WORDS = [
    "",
    "a",
    "A",
    "ab",
    "5",
    "5.0",
    "05",
    "-1",
    "1e2",
    "ß",
    "SS",
    "😀",
    "x" * 10_000,
    "\ud800",
    "null",
    "\n",
    "NaN",
]
NUMBERS = st.sampled_from([0, 1, 5, 5.0, -1, 0.1, 100, 2**53 + 1, 2**64 - 1, 2**64, 2**70, -(2**63) - 1, 1e300])
SINGLE = (
    st.sampled_from(WORDS)
    | st.sampled_from("x😀").map(lambda sign: sign * 10_000)
    | NUMBERS
    | st.booleans()
    | st.integers()
    | st.text(max_size=4)
)
ODD = st.none() | SINGLE | st.floats() | st.binary(max_size=3) | st.just(10**500) | st.dates()
MEMBERS = ["a", "b", "0", "1", "10"]
VALUES = st.recursive(
    st.none() | SINGLE.filter(lambda one: one != "\ud800"),
    lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), deeper, max_size=3),
    max_leaves=8,
)
JSON = VALUES.map(json.dumps) | st.sampled_from(["", "{", "NaN", "[" * 2000, '{"a":1e400}', '"\\ud800"', "{}", "[]"])
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(["evt", "url", "n", "f", "b", "dt"], ODD),
        "jsn": JSON | ODD,
        "rest": JSON,
    },
)
FIELDS = st.sampled_from(
    ["evt", "url", "n", "f", "b", "jsn", "jsn.a", "jsn.b.a", "jsn.a.0", "rest.b", "rest.0.1", "jsn.10"]
)
TEXTS = st.sampled_from([word for word in WORDS if word and word != "\ud800"])
PATTERNS = st.sampled_from(["a", "^a", "b$", "[0-9]+", "a.*b", "x{50}", "^$", "(a|5)0?", "😀"])
OPERATORS = st.fixed_dictionaries(
    {},
    optional={
        "equals": SINGLE,
        "in": st.lists(SINGLE, min_size=1, max_size=3),
        "contains": TEXTS,
        "matches": PATTERNS,
        **dict.fromkeys(["more_than", "less_than", "at_least", "at_most"], NUMBERS),
        "exists": st.booleans(),
    },
).filter(bool)
PLAIN = SINGLE | st.lists(SINGLE, min_size=1, max_size=3) | OPERATORS


@st.composite
def asked(draw: st.DrawFn) -> Any:
    """A composite, as hypothesis writes out what the others are made of, again and again."""
    plain = draw(PLAIN)
    return {"not": plain} if draw(st.booleans()) else plain


SITE = st.sampled_from([{"site": "shop"}, {"site": ["a", "shop"]}, {"site": {"not": "shop"}}])
LINES = st.dictionaries(FIELDS, asked(), min_size=1, max_size=3) | SITE
WHENS = st.recursive(
    LINES,
    lambda deeper: (
        st.fixed_dictionaries({"any": st.lists(deeper, min_size=1, max_size=3)})
        | st.fixed_dictionaries({"all": st.lists(deeper, min_size=1, max_size=3), "evt": asked()})
        | st.fixed_dictionaries({"not": deeper})
    ),
    max_leaves=6,
)


@settings(max_examples=1000)
@given(when=WHENS, record=RECORDS)
def test_the_fast_way_agrees_with_the_slow_one(when, record):
    condition = compiled(when, Names([]))

    assert condition(Seen(record, "shop")) is slow(when, record, "shop")


ANYTHING = st.recursive(
    ODD | st.floats(allow_nan=True),
    lambda deeper: (
        st.lists(deeper, max_size=3)
        | st.dictionaries(
            st.sampled_from(["evt", "jsn.a", "n", "any", "all", "not", "in", "matches", "contains", "at_least"])
            | st.none()
            | st.text(max_size=2),
            deeper,
            max_size=3,
        )
    ),
)


@settings(max_examples=500)
@given(when=ANYTHING, record=RECORDS)
def test_any_value_is_a_condition_or_a_list_of_mistakes(when, record):
    told = ["nothing"]
    try:
        condition = compiled(when, NAMES)
        assert condition(Seen(record, "shop")) in (True, False)
    except MisconfiguredError as exc:
        told = exc.mistakes

    assert told
    assert not [line for line in told if len(line.splitlines()) != 1]


@given(ODD)
def test_a_number_is_finite_and_as_exact_as_64_bits(value):
    assert number(value) == slow_number(value)


def test_a_rule_without_a_condition_is_true_of_every_record():
    assert always(Seen({}, "shop"))


@pytest.mark.parametrize("when", [{"low": "Paid"}, {"low": {"in": ["open", "PAID"]}}, {"low": {"not": "Paid"}}])
def test_a_text_that_no_value_can_be_for_its_case_is_a_mistake(when: dict[str, Any]) -> None:
    with pytest.raises(MisconfiguredError, match=r"'(Paid|PAID)' can never be: the field is changed to 'paid'"):
        compiled(when, NAMES)
    assert holds({"low": "paid", "evt": "Paid"}, {"low": "paid", "evt": "Paid"})
