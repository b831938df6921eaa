"""What is kept of a rejected beacon is enough to judge it again, or says that it is not."""

import json
from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arms import kept
from arms.devices import device
from arms.intake import Accepted, Intake, Outcome, Rejected, Sent
from arms.kept import Kept, NotKeptError
from arms.parameters import ParameterError
from oceanus import records
from tests.arms.conftest import GOOD, TOKEN, Arms, sample

NEVER = "allowed: [never]"
RIGHT = "evt: {from: query, normal: [lower], rule: {type: string, required: true, maxlength: 16}, mode: REQUIRED"
WRONG = RIGHT.replace("maxlength: 16", NEVER)
FORM = "oid: {from: form, rule: {type: string"
STRICT_TEXT = sample().replace(RIGHT, WRONG).replace(FORM, f"{FORM}, {NEVER}")
STRICT, LAX = Arms(STRICT_TEXT, limit=10**9), Arms(sample(), limit=10**9)
values = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["pageview", "86895a04", "2", "\\xe3\\x81", "\\xe3\\x81\\x82", "a@b.example", "x\ny", "{", "&"]),
)
names = st.sampled_from([*GOOD, "jsn", "uid", "name", "enc", "other"])


def judged(raw: str, method: str, site: str) -> Outcome:
    """Return what the sites of LAX make of a kept text."""
    found = kept.read(raw)
    parameters = found.parameters(method)
    wrong = parameters if isinstance(parameters, ParameterError) else None
    sent = Sent(
        parameters=() if wrong else parameters,
        headers={"user-agent": found.agent},
        address=found.address,
        now_us=LAX.now_us,
        route=found.route,
        raw=found.sent,
        given_time=found.time,
        unreadable=wrong,
    )
    return Intake(LAX.collector.sites[site], device).take(sent)


def same_again(method: str, site: str, send: object) -> None:
    """Send to both; what the strict one kept, judged again, must be what the other made of the request itself."""
    for arms in (STRICT, LAX):
        arms.spool.pushes.clear()
        send(arms)
    [failed] = STRICT.spool.records(site, "failed")
    found = judged(failed["raw"], method, site)
    accepted = LAX.spool.records(site)

    if "\\x" in failed["raw"] and isinstance(found, Rejected) and "is not UTF-8" in found.error:
        return  # letters like an escaped byte: refused rather than guessed at
    if accepted:
        assert isinstance(found, Accepted)
        assert {**found.record, "eid": ""} == {**accepted[0], "eid": ""}
    else:
        assert isinstance(found, Rejected)
        assert found.failed
        assert found.failed.reason == LAX.spool.records(site, "failed")[0]["reason"]


@settings(deadline=None)
@given(st.lists(st.tuples(names, values)), st.booleans())
def test_a_query_is_judged_again_as_it_came(pairs: list[tuple[str, str]], good: bool) -> None:
    query = urlencode([*(GOOD.items() if good else ()), *pairs])

    same_again("swallow", "bizocean", lambda arms: arms.get("/swallow/bizocean", query, user_agent="curl/8"))


@settings(deadline=None)
@given(st.lists(st.tuples(names, values)), st.sampled_from(["", "application/x-www-form-urlencoded", "text/plain"]))
def test_a_form_is_judged_again_as_it_came(pairs: list[tuple[str, str]], kind: str) -> None:
    body = "&".join(f"{name}={value if kind == 'text/plain' else quote(value)}" for name, value in pairs)
    headers = {"content_type": kind} if kind else {}
    query = urlencode({"oid": "2", "sid": "a"})

    same_again("pirate", "movieform", lambda arms: arms.post("/pirate/movieform", body.encode(), query, **headers))
    same_again("pirate", "movieform", lambda arms: arms.post("/pirate/movieform", f"oid=2&{body}".encode(), **headers))


@settings(deadline=None)
@given(st.dictionaries(names, st.one_of(values, st.integers(), st.none(), st.lists(st.integers()))))
def test_a_json_form_is_judged_again_as_it_came(members: dict[str, object]) -> None:
    body = json.dumps({**members, "oid": "2"}, indent=2)

    same_again(
        "pirate", "movieform", lambda arms: arms.post("/pirate/movieform", body, content_type="application/json")
    )


@settings(deadline=None)
@given(st.dictionaries(names, st.one_of(values, st.integers(), st.lists(st.integers()))))
@example({"oid": "\0"})
@example({"tit": "\ud800"})
@example({"jsn": {"n": 123456789012345678901234567890, "a": ["\0"]}})
def test_a_beacon_of_a_batch_is_judged_again_as_it_came(members: dict[str, object]) -> None:
    body = json.dumps([GOOD | members])

    same_again("swallow", "bizocean", lambda arms: arms.post("/swallow/bizocean", body, "evt=ignored"))


@pytest.mark.parametrize("body", ["oid=2&evt=pageview&sid=8&url=x", "[[1]]", "7", '[{"oid": "2"}', b"\xff", '"x"'])
def test_what_was_no_beacon_of_a_batch_is_none_when_judged_again(body: str | bytes) -> None:
    same_again("swallow", "bizocean", lambda arms: arms.post("/swallow/bizocean", body))


def test_a_multipart_form_is_not_taken_the_second_time_either() -> None:
    body = '--x\r\nContent-Disposition: form-data; name="oid"\r\n\r\n2\r\n--x--\r\n'

    same_again(
        "pirate", "movieform", lambda arms: arms.post("/pirate/movieform", body, content_type="multipart/form-data")
    )


def test_bytes_that_came_unescaped_are_the_same_bytes_again() -> None:
    query = urlencode(GOOD) + "&tit=日本\\xe3\\x81\\x82"

    same_again("swallow", "bizocean", lambda arms: arms.get("/swallow/bizocean", query))
    assert LAX.spool.records("bizocean")[0]["tit"] == "日本\\xe3\\x81\\x82"


def test_the_time_of_a_trusted_caller_is_kept() -> None:
    given_time = "2026-11-18T00:00:00Z"
    headers = {"authorization": f"Bearer {TOKEN}", "x_oceanus_time": given_time, "x_oceanus_address": "192.0.2.1"}

    same_again("swallow", "bizocean", lambda arms: arms.get("/swallow/bizocean", urlencode(GOOD), **headers))

    [record] = LAX.spool.records("bizocean")
    assert (record["dt"], record["rad"]) == ("2026-11-18 00:00:00", "192.0.2.1")


def test_a_beacon_whose_sender_was_refused_is_marked(arms: Arms) -> None:
    arms.get("/swallow/bizocean", urlencode(GOOD), authorization="Bearer wrong")

    [failed] = arms.spool.records("bizocean", "failed")
    assert kept.read(failed["raw"]).refused


@pytest.mark.parametrize(
    ("site", "headers", "query", "cleaned"),
    [
        ("privacy: {policy: anonymous}", {}, "url=https://x.example/?mail=a@b.example", False),
        ("privacy: {policy: anonymous}", {"dnt": "1"}, "url=x", True),
        ("privacy: {mask: [token]}", {}, "url=https://x.example/?token=1", False),
        ("privacy: {mask: [token]}", {}, "tit=a@b.example", True),
        ("privacy: {mask: [token]}", {}, "tit=%ff", True),
    ],
)
def test_a_text_that_privacy_took_more_out_of_than_a_record_would_lose_is_marked(
    make_arms: object, site: str, headers: dict[str, str], query: str, cleaned: bool
) -> None:
    arms = make_arms(bizocean=f"{{method: swallow, shape: access, batch: {{rows: 1, seconds: 1}}, {site}}}")

    arms.get("/swallow/bizocean", query, **headers)

    [failed] = arms.spool.records("bizocean", "failed")
    assert kept.read(failed["raw"]).cleaned is cleaned


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("", "its text is no beacon"),
        ("[]", "it counts beacons of which no text is kept"),
        ('{"sid: required field": 20}', "it counts beacons of which no text is kept"),
        ('{"route": "/", "sent": "", "address": 1, "agent": ""}', "its text is no beacon"),
        ('{"route": "/", "sent": "", "address": "", "agent": "", "body_at": -1}', "its text is no beacon"),
    ],
)
def test_what_keeps_no_beacon_is_told(raw: str, told: str) -> None:
    with pytest.raises(NotKeptError, match=told):
        kept.read(raw)


@settings(deadline=None)
@given(st.text(max_size=9000), st.text(max_size=600))
def test_a_text_is_read_as_it_was_written_or_is_told_to_be_cut(sent: str, agent: str) -> None:
    whole = Kept(route="/swallow/shop", sent=sent, address="::1", agent=agent[:512])
    raw = whole.text()

    assert len(raw.encode()) <= kept.BYTES
    if len(records.encode({"v": raw})) <= kept.BYTES:
        assert kept.read(raw) == whole


def test_a_text_that_was_cut_is_told() -> None:
    raw = Kept(route="/", sent="あ" * 4000, address="", agent="").text()

    with pytest.raises(NotKeptError, match="it was cut at 8 KiB"):
        kept.read(raw)
