"""The compiled checks and Cerberus agree on every record: Cerberus is the law."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arms.checks import Checks, compiled
from oceanus import sites
from oceanus.sites import Field

SAMPLE = sites.load(str(sites.SAMPLE))
numbers = st.one_of(st.integers(-3, 7), st.floats(-2.0, 5.5), st.booleans())
values = st.one_of(
    numbers,
    st.text(max_size=20),
    st.sampled_from(["", "abc123\n", "86895a04", "1.2.3.4", "1.2.3.4%eth0", "::1", "UTF-8", "x" * 17, "x" * 1025, "g"]),
)


def field(name: str, **rule: object) -> Field:
    return Field(
        name=name, source="query", argument="", normal=(), rule=rule, type="STRING", mode="NULLABLE", description="",
        anonymous="keep", policy_tag="",
    )  # fmt: skip


@pytest.mark.parametrize("site", ["bizocean", "mailaction", "shortener", "movieform"])
def test_checks_agree_with_cerberus_on_the_samples(site: str) -> None:
    fields = SAMPLE[site].fields
    checks = Checks(fields)

    @given(st.dictionaries(st.sampled_from([one.name for one in fields]), values))
    @example({"sid": "abc\n"})
    def agree(record: dict[str, str]) -> None:
        assert checks.apply(dict(record)) == checks.by_cerberus(dict(record))

    agree()


rules = st.fixed_dictionaries(
    {},
    optional={
        "type": st.just("string"),
        "required": st.booleans(),
        "maxlength": st.integers(0, 5),
        "minlength": st.integers(0, 5),
        "regex": st.sampled_from(["^[a-z]*$", "[0-9]+", "^a|b$", ".", "(?i)AB?"]),
        "default": st.sampled_from(["", "a", "7", "zzzzzzzz"]),
        "empty": st.booleans(),
        "check_with": st.just("address"),
        "allowed": st.lists(st.sampled_from(["a", "b", "", "1.2.3.4"])),
    },
)


@given(rules, st.one_of(st.none(), st.text(max_size=6), st.sampled_from(["a", "b", "7", "1.2.3.4", "a\n", "ab"])))
def test_checks_agree_with_cerberus_on_any_rule_they_know(rule: dict[str, object], value: str | None) -> None:
    checks = Checks([field("f", **rule)])
    record = {} if value is None else {"f": value}

    assert checks.apply(dict(record)) == checks.by_cerberus(dict(record))


@given(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "float", "number", "boolean"])},
        optional={
            "required": st.booleans(),
            "min": st.integers(-2, 2),
            "max": st.floats(0.0, 4.0),
            "default": st.one_of(numbers, st.just("")),
        },
    ),
    st.one_of(st.none(), numbers, st.just("1")),
)
def test_checks_agree_with_cerberus_on_numbers(rule: dict[str, object], value: object) -> None:
    checks = Checks([field("f", **rule)])
    record = {} if value is None else {"f": value}

    fast, law = checks.apply(dict(record)), checks.by_cerberus(dict(record))

    assert fast == law
    assert [type(one) for one in fast[0].values()] == [type(one) for one in law[0].values()]


def test_a_rule_that_only_cerberus_can_tell_is_left_to_it() -> None:
    assert compiled({"type": "integer", "min": 0, "forbidden": [3]}) is None
    assert compiled({"type": "integer", "max": "1e6"}) is None
    assert compiled({"anyof": [{"regex": "a"}, {"regex": "b"}]}) is None


def test_the_plainly_right_never_reach_cerberus() -> None:
    checks = Checks(SAMPLE["bizocean"].fields)
    checks.by_cerberus = None  # would fail if it were called

    record = {"oid": "2", "sid": "ab", "rad": "::1", "evt": "x", "url": "u", "dt": "2026-01-01 00:00:00", "dev": "pc"}

    assert checks.apply(record) == (record | {"ua": ""}, {})
