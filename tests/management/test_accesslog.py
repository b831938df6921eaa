"""A line of an access log as a beacon."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from management.accesslog import Beacon, beacon, time_of

LINE = (
    b'83.149.9.216 - - [17/May/2015:10:05:03 +0200] "GET /a%20b?q=1 HTTP/1.1" 200 203023'
    b' "http://example.com/" "Agent/1.0"'
)
BEFORE = datetime(2015, 5, 17, tzinfo=UTC)
LOG = Path(__file__).parents[3] / "shared" / "data" / "access.log"


def line(**changes: bytes) -> bytes:
    parts = {
        "address": b"192.0.2.7",
        "request": b"GET / HTTP/1.1",
        "size": b"5",
        "referrer": b"-",
        "agent": b"-",
        "time": b"17/May/2015:10:05:03 +0000",
    }
    parts |= changes
    return b'%(address)b - - [%(time)b] "%(request)b" 200 %(size)b "%(referrer)b" "%(agent)b"' % {
        name.encode(): value for name, value in parts.items()
    }


def test_line_becomes_the_beacon_its_browser_would_have_sent():
    assert beacon(LINE, None) == Beacon(
        parameters={
            "evt": "pageview",
            "oid": "2",
            "url": "/a%20b?q=1",
            "ref": "http://example.com/",
            "sid": hashlib.sha256(b"83.149.9.216Agent/1.0").hexdigest()[:16],
            "jsn": '{"bytes":203023,"method":"GET","protocol":"HTTP/1.1","status":200}',
        },
        address="83.149.9.216",
        agent="Agent/1.0",
        time=datetime(2015, 5, 17, 8, 5, 3, tzinfo=UTC),
        parsed=True,
    )


def test_dash_is_an_absent_referrer_agent_and_size():
    read = beacon(line(size=b"-"), None)

    assert "ref" not in read.parameters
    assert read.agent == ""
    assert json.loads(read.parameters["jsn"])["bytes"] == 0


def test_session_is_the_hash_of_address_and_agent_as_they_stand_in_the_log():
    read = beacon(line(agent=rb"a \"b\" \xe3"), None)

    assert read.parameters["sid"] == hashlib.sha256(rb"192.0.2.7a \"b\" \xe3").hexdigest()[:16]


def test_escaped_quotes_are_part_of_a_field():
    read = beacon(line(request=rb"GET /\"x\" HTTP/1.0", agent=rb"say \"hi\""), None)

    assert (read.parsed, read.parameters["url"], read.agent) == (True, '/"x"', 'say "hi"')


@pytest.mark.parametrize("address", [b"::1", b"2001:db8::ff00:42:8329", b"100.64.0.1"])
def test_addresses_of_both_families_parse(address):
    assert beacon(line(address=address), None).address == address.decode()


def test_bytes_that_are_no_utf8_are_shown_and_not_lost():
    read = beacon(line(agent=b"caf\xe9 \x1b[31m"), None)

    assert (read.parsed, read.agent) == (True, r"caf\xe9 \x1b[31m")


def test_too_long_fields_are_cut():
    read = beacon(line(request=b"GET /" + b"a" * 2000 + b" HTTP/1.1", referrer=b"r" * 2000, agent=b"u" * 2000), None)

    assert (len(read.parameters["url"]), len(read.parameters["ref"]), len(read.agent)) == (1024, 1024, 512)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no log line at all",
        line(request=b"-"),
        line(request=rb"\x16\x03\x01"),
        line(address=b"www.example.com"),
        line(time=b"31/Feb/2015:10:05:03 +0000"),
        line()[:-1],
        line() + b' "an eleventh field"',
    ],
)
def test_what_cannot_be_parsed_goes_whole_into_jsn_line_at_the_time_before(raw):
    read = beacon(raw, BEFORE)

    assert read == Beacon(
        parameters={
            "evt": "pageview",
            "oid": "2",
            "url": "/",
            "sid": hashlib.sha256(raw).hexdigest()[:16],
            "jsn": read.parameters["jsn"],
        },
        address="",
        agent="",
        time=BEFORE,
        parsed=False,
    )
    assert json.loads(read.parameters["jsn"]) == {"line": raw.decode()}


def test_line_that_does_not_fit_is_cut_to_fit_and_no_shorter():
    read = beacon(b'"\\' * 5000, None)

    assert 4095 <= len(read.parameters["jsn"]) <= 4096


@pytest.mark.parametrize(
    "text", ["17/May/2015:10:05:03", "00/May/2015:10:05:03 +0000", "17/Mai/2015:10:05:03 +0000", "1/Jan/1:0:0:0 +0000"]
)
def test_what_is_no_time_is_none(text):
    assert time_of(text) is None


@given(
    st.one_of(st.binary(max_size=6000), st.builds(line, request=st.binary(), agent=st.binary(), referrer=st.binary()))
)
def test_every_line_is_a_beacon_within_the_limits(raw):
    read = beacon(raw, BEFORE)

    assert len(read.parameters["url"]) <= 1024
    assert len(read.parameters.get("ref", "")) <= 1024
    assert len(read.parameters["jsn"]) <= 4096
    assert len(read.agent) <= 512
    assert read.agent == read.agent.strip()
    assert len(read.parameters["sid"]) == 16
    assert read.time is not None
    everything = "".join([*read.parameters.values(), read.agent, read.address])
    assert everything.encode().decode().isprintable() or not any(ord(one) < 32 for one in everything)


@pytest.mark.skipif(not LOG.exists(), reason="../shared is not here")
def test_every_line_of_the_real_log_parses():
    with LOG.open("rb") as lines:
        read = [beacon(raw, None) for raw in lines]

    assert len(read) == 5000
    assert all(one.parsed for one in read)
