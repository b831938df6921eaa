"""Plain beacons are taken as the intake would take them, member for member; whatever else, the intake decides."""

import json
from dataclasses import replace
from urllib.parse import quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arms.bodies import line_of, parameters_of, query
from arms.intake import Accepted, Intake, Sent
from arms.lane import plain_parameters
from arms.parameters import ParameterError, header_text
from arms.plain import Plain, plain_members
from oceanus import sites
from tests.arms.conftest import sample
from tests.arms.serving import GOOD

NOW_US = 1_795_000_000_123_456
CID = "0123456789abcdef0123456789ABCDEF"
ODD = """shapes:
  odd:
    fields:
      dt: {from: clock, type: TIMESTAMP, mode: REQUIRED}
      sid: {from: query, rule: {type: string, required: true}}
      nick: {from: form, rule: {type: string}}
      cur: {from: query, rule: {type: string, default: JPY}}
      amt: {from: query, normal: [integer], rule: {type: integer, min: 1, max: 9}, type: INT64}
      few: {from: query, normal: [integer], rule: {type: integer, max: 10}, type: INT64}
      low: {from: query, normal: [lower, {cut: 3}], rule: {type: string}}
      bool: {from: query, normal: [boolean], rule: {type: boolean}, type: BOOL}
      ua: {from: "header:User-Agent", rule: {type: string, default: "Mobile"}}
      dev: {from: "device:ua", rule: {type: string, empty: true}}
      rad: {from: address, rule: {type: string}}
  doubt:
    fields:
      dt: {from: clock, type: TIMESTAMP, mode: REQUIRED}
      cur: {from: query, rule: {type: string, default: JPY, dependencies: amt}}
      amt: {from: query, rule: {type: string}}
"""
NEWS = "{method: swallow, shape: access, privacy: {policy: anonymous, consent: ok, mask: [mail]}}"
SITES = sites.parse(
    sample(
        bizocean="\n  ".join(
            [
                "{method: swallow, shape: access, unknown: others}",
                f"news: {NEWS}",
                "odd: {method: swallow, shape: odd}",
                "doubt: {method: swallow, shape: doubt}",
            ]
        ),
        skj="{method: swallow, shape: access, privacy: {policy: drop}, table: {form: daily}}",
    ).replace("shapes:\n", ODD, 1)
)


def device(agent: str) -> str:
    """Tell a device without reading all the rules."""
    return "mobile" if "Mobile" in agent else "pc" if agent else ""


INTAKES = {name: Intake(SITES[name], device) for name in ("bizocean", "news", "skj", "mailaction", "odd")}
PLAIN = {name: Plain(SITES[name], intake.checks, device) for name, intake in INTAKES.items()}

texts = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", "1", "2", "abc123", "UTF-8", "x" * 17, "x" * 1025, "denied", "granted", '{"b":1,"a":[1.50]}', CID]
    ),
    st.sampled_from(
        ["%", "%zz", "%00", "%ff", "%ED%A0%80", "%EF%BF%BD", "+", "%2B", "a%3Db", '{"a":"\\u0000"}', "1e5"]
    ),
)
names = st.sampled_from(
    [
        *GOOD,
        "uid",
        "tit",
        "ref",
        "jsn",
        "enc",
        "scr",
        "vie",
        "ok",
        "gpc",
        "dnt",
        "other",
        "debug",
        "cid",
        "re",
        "",
        "nick",
        "cur",
        "amt",
        "few",
        "low",
        "bool",
    ]
)
written = st.one_of(texts, texts.map(lambda text: quote_plus(text, errors="replace")))
pairs = st.lists(st.tuples(names, written), max_size=6)
headers = st.dictionaries(
    st.sampled_from([b"user-agent", b"dnt", b"sec-gpc", b"referer"]),
    st.one_of(st.sampled_from([b"1", b"0", b"Mobile", b"\xff", b"a" * 600]), st.binary(max_size=5)),
    max_size=3,
)
addresses = st.sampled_from(["1.2.3.4", "2001:db8::1", "", "nobody"])


@pytest.mark.parametrize("site", INTAKES)
def test_what_is_plain_is_what_the_intake_takes(site: str) -> None:
    seen = set()

    @given(st.booleans(), pairs, headers, addresses)
    @example(True, [], {}, "1.2.3.4")
    @example(True, [("cid", CID)], {b"user-agent": b"Mobile"}, "1.2.3.4")
    @example(True, [("jsn", '{"b": 1, "a": 2}'), ("enc", "utf/8")], {}, "1.2.3.4")
    @example(True, [("oid", "3")], {}, "1.2.3.4")
    @example(True, [("tit", "%E3%81")], {}, "1.2.3.4")
    @example(True, [("url", "https://a.example/?mail=a@b.example&x=1")], {}, "1.2.3.4")
    def agree(good: bool, more: list[tuple[str, str]], given: dict[bytes, bytes], address: str) -> None:
        parts = [*(GOOD.items() if good else ()), *more]
        raw = "&".join(f"{name}={value}" for name, value in parts).encode(errors="replace")
        parameters = plain_parameters(raw)
        plain = PLAIN[site].take(parameters, given, address, NOW_US) if parameters is not None else None
        seen.add(plain is not None)
        if plain is None:
            return

        taken = INTAKES[site].take(sent(raw, given, address))

        assert isinstance(taken, Accepted)
        assert without_id(plain) == without_id(taken)
        assert not plain.again
        if plain.named:
            assert plain == taken

    agree()
    assert seen == {True, False}


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=4,
)


@pytest.mark.parametrize("site", INTAKES)
def test_what_is_plain_in_a_batch_is_what_the_intake_takes(site: str) -> None:
    seen = set()

    @given(st.booleans(), st.dictionaries(names, values, max_size=5), headers, addresses)
    @example(True, {}, {}, "1.2.3.4")
    @example(True, {"cid": CID, "jsn": {"b": 1.50, "a": [1e5, -0.0]}}, {}, "1.2.3.4")
    @example(True, {"jsn": {}, "tit": []}, {}, "1.2.3.4")
    @example(True, {"jsn": {}, "uid": ""}, {}, "1.2.3.4")
    @example(True, {"tit": {"a": 1}}, {}, "1.2.3.4")
    @example(True, {"low": {}}, {}, "1.2.3.4")
    @example(True, {"bool": {}}, {}, "1.2.3.4")
    @example(True, {"amt": "5", "nick": "Ann", "bool": "1"}, {}, "1.2.3.4")
    @example(True, {"few": "5"}, {}, "1.2.3.4")
    @example(True, {"cid": [CID]}, {}, "1.2.3.4")
    @example(True, {"oid": "3"}, {}, "1.2.3.4")
    def agree(good: bool, more: dict[str, object], given: dict[bytes, bytes], address: str) -> None:
        line = json.dumps((GOOD if good else {}) | more, ensure_ascii=False)
        beacon = line_of(line)
        members = plain_members(beacon) if "\\u" not in line else None
        plain = PLAIN[site].take(members, given, address, NOW_US) if members is not None else None
        seen.add(plain is not None)
        if plain is None:
            return

        read = parameters_of(beacon)
        assert not isinstance(read, ParameterError)
        taken = INTAKES[site].take(replace(sent(b"", given, address), parameters=read))

        assert isinstance(taken, Accepted)
        assert without_id(plain) == without_id(taken)
        assert plain == taken if plain.named else not plain.again

    agree()
    assert seen == {True, False}


def test_a_default_that_only_cerberus_can_judge_is_left_to_it() -> None:
    intake = Intake(SITES["doubt"], device)

    assert Plain(SITES["doubt"], intake.checks, device).take({"amt": "1"}, {}, "1.2.3.4", NOW_US) is None
    assert not isinstance(intake.take(sent(b"url=x", {}, "1.2.3.4")), Accepted)


def test_a_good_beacon_is_plain_and_only_one_that_asks_for_more_is_not() -> None:
    def is_plain(site: str = "news", address: str = "1.2.3.4", dnt: bytes = b"0", **more: str) -> bool:
        taken = PLAIN[site].take(GOOD | more, {b"user-agent": b"x", b"dnt": dnt}, address, NOW_US)
        return taken is not None

    assert is_plain()
    assert is_plain(cid=CID)
    assert is_plain(ok="granted")
    assert is_plain(jsn='{"price":1.50}')
    assert not is_plain(cid="x")
    assert not is_plain(cid=CID, re="1")
    assert not is_plain(debug="1")
    assert not is_plain(ok="denied")
    assert not is_plain(dnt=b"1")
    assert not is_plain(address="nobody")
    assert not is_plain(oid="x" * 17)
    assert not is_plain(jsn="{")
    assert not is_plain("bizocean", other="x")
    assert is_plain("news", other="x")


def sent(raw: bytes, given: dict[bytes, bytes], address: str) -> Sent:
    """Return what the collector would hand to the intake."""
    read = query(raw)
    wrong = read if isinstance(read, ParameterError) else None
    return Sent(
        parameters=() if isinstance(read, ParameterError) else read,
        headers={name.decode(): header_text(value) for name, value in given.items()},
        address=address,
        now_us=NOW_US,
        route="/swallow/x",
        raw=raw.decode(),
        unreadable=wrong,
    )


def without_id(accepted: Accepted) -> tuple[object, ...]:
    """Return all of an accepted beacon but what is random in it."""
    members = {name: value for name, value in accepted.record.items() if name != "eid"}
    return members, accepted.minute, accepted.received_ms, accepted.named, len(accepted.text)
