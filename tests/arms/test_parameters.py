import json
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arms.parameters import ParameterError, header_text, members, merge, pairs

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1)


@given(st.lists(st.tuples(texts, texts), max_size=50))
def test_what_a_browser_encodes_is_read_back(sent: list[tuple[str, str]]) -> None:
    assert pairs(urlencode(sent).encode()) == sent
    assert pairs("&".join(f"{quote(n, safe='')}={quote(v, safe='')}" for n, v in sent).encode()) == sent


@given(st.binary(max_size=300))
def test_any_bytes_are_parameters_or_a_named_mistake(raw: bytes) -> None:
    try:
        read = pairs(raw)
    except ParameterError as exc:
        assert str(exc) == f"{exc.field}: {exc.reason}"  # noqa: PT017 - one of two ends, both right
    else:
        assert all("\0" not in name + value for name, value in read)
        "".join(name + value for name, value in read).encode()


def test_blank_parameters_are_absent() -> None:
    assert pairs(b"a=&b=1&&c&=") == [("b", "1")]


def test_a_plus_is_a_space_and_a_broken_escape_stays_as_it_is() -> None:
    assert pairs(b"a=x+y%2B&b=100%zz") == [("a", "x y+"), ("b", "100%zz")]


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"tit=%83e%83X%83g", "tit"),
        (b"tit=\xff", "tit"),
        (b"tit=%ed%a0%80", "tit"),
        (b"tit=a%00b", "tit"),
        (b"%ff=1", "query"),
    ],
)
def test_text_that_is_not_utf8_or_holds_nul_is_named(raw: bytes, field: str) -> None:
    with pytest.raises(ParameterError) as caught:
        pairs(raw)

    assert caught.value.field == field


def test_too_many_parameters_are_a_mistake() -> None:
    with pytest.raises(ParameterError, match="more than 100"):
        pairs(b"&".join(b"p%d=1" % i for i in range(101)))


def test_json_members_become_texts_and_structures_stay() -> None:
    text = (
        '{"oid": 2, "evt": "x", "f": 1.50, "t": true, "no": null, "blank": "", "jsn": {"n": 12345678901234567890123}}'
    )

    read = dict(members(text))

    assert read == {"oid": "2", "evt": "x", "f": "1.50", "t": "true", "jsn": {"n": "12345678901234567890123"}}


@pytest.mark.parametrize(
    "text", ["[1]", "5", "{", '{"a": "\\u0000"}', '{"a": "\\ud800"}', '{"a": NaN}', "", "[" * 5000]
)
def test_json_that_is_no_object_of_clean_texts_is_a_mistake(text: str) -> None:
    with pytest.raises(ParameterError):
        members(text)


def test_repeated_names_are_told() -> None:
    assert merge([("a", "1"), ("b", "2"), ("a", "3")]) == ({"a": "3", "b": "2"}, frozenset({"a"}))


@given(st.binary(max_size=50))
def test_any_header_becomes_text(raw: bytes) -> None:
    json.dumps(header_text(raw), ensure_ascii=False).encode()
