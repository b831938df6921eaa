"""What comes through the lane is stored and answered as the route does it, byte for byte."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arms.app import App
from arms.collector import Collector
from arms.lane import Lane
from arms.rates import Rates
from tests.arms.conftest import Arms
from tests.arms.serving import GOOD
from tests.arms.talking import Loop, connected, talk, turn

NAMED = GOOD | {"cid": "0123456789abcdef0123456789abcdef"}
AGENT = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148"
LISTED = '{method: swallow, shape: access, origins: {allow: ["https://www.example.com"]}}'
ENFORCED = '{method: swallow, shape: access, origins: {allow: ["https://www.example.com"], enforce: true}}'

KEPT = LISTED.replace("access,", "access, cookie_domain: example.com, tracker: {cookie: arms},")
NOWHERE = "{method: swallow, shape: access, tracker: {cookie: none}}"


def get(
    path: str = "/swallow/bizocean", query: str = "", more: str = "", method: str = "GET", http: str = "1.1"
) -> bytes:
    """Return a request; `more`: lines of headers."""
    lines = [f"{method} {path}?{query or urlencode(NAMED)} HTTP/{http}", "Host: 127.0.0.1", f"User-Agent: {AGENT}"]
    return "\r\n".join([*lines, *more.splitlines(), "", ""]).encode()


def app_of(arms: Arms) -> App:
    """Return the application that a collector's client talks to."""
    return arms.client.app


def framework(arms: Arms) -> Callable[..., Any]:
    """Return the application without its lane."""
    return app_of(arms).__call__  # which has no lane


class Seen(Lane):
    """A lane that notes what it takes."""

    def __init__(self, collector: Collector) -> None:
        super().__init__(collector)
        self.taken: list[bool] = []

    def judge(self, *request: Any) -> Any:
        found = super().judge(*request)
        self.taken.append(found is not None)
        return found


def seen(arms: Arms) -> list[bool]:
    """Return what will be whether the lane has taken each request that it was asked for."""
    app_of(arms).lane = lane = Seen(arms.collector)
    return lane.taken


def post(body: str, path: str = "/swallow/bizocean", more: str = "") -> bytes:
    """Return a request with a body."""
    raw = body.encode(errors="surrogatepass")
    return get(path, "v=1", f"Content-Length: {len(raw)}\n{more}", "POST") + raw


ONE = json.dumps(NAMED, ensure_ascii=False)
REQUESTS = {
    "a beacon": get(),
    "of the first site": get("/swallow"),
    "with an origin": get(more="Origin: https://www.example.com"),
    "behind a proxy": get(more="X-Forwarded-For: 203.0.113.9"),
    "behind a proxy that writes no ASCII": get(more="X-Forwarded-For: 203.0.113.9\u00a0"),
    "with an encoded title": get(query=urlencode(NAMED | {"tit": "お問い合わせ & more+"})),
    "that says to keep the connection": get(more="Connection: keep-alive"),
    "posted": post(ONE),
    "posted with a content type and an origin": post(
        f"\n{ONE}\n", more="Content-Type: text/plain;charset=UTF-8\nOrigin: https://www.example.com"
    ),
    "posted with an object and signs": post(json.dumps(NAMED | {"jsn": {"a": [1, "é"]}}, ensure_ascii=False)),
    "posted in an array": post(f"[{ONE}]"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_plain_beacon_is_answered_and_stored_as_by_the_route(make_arms: Callable[..., Arms], name: str) -> None:
    fast, slow = make_arms(proxies=1), make_arms(proxies=1)
    taken = seen(fast)

    answers = talk(app_of(fast), [REQUESTS[name]]), talk(framework(slow), [REQUESTS[name]])

    assert taken == [True]
    assert answers[0] == answers[1]
    assert answers[0][0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert fast.spool.pushes == slow.spool.pushes
    assert len(fast.spool.records("bizocean")) == 1


MIXED = [
    get(),
    get(query="oid=2"),
    get("/hc"),
    get(method="HEAD"),
    post(ONE),
    post('{"oid": "2"}'),
    post(f"{ONE}\n{ONE}"),
    post("{}", "/swallow/nobody"),
]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(MIXED), max_size=4), st.data())
def test_however_requests_are_cut_and_mixed_they_are_answered_as_by_the_route(
    make_arms: Callable[..., Arms], requests: list[bytes], data: st.DataObject
) -> None:
    pieces = []
    for request in requests:
        at = data.draw(st.integers(1, len(request)))
        pieces += [request[:at], request[at:]] if at < len(request) else [request]
    fast, slow = make_arms(), make_arms()

    answers = talk(app_of(fast), pieces), talk(framework(slow), pieces)

    assert answers[0] == answers[1]
    assert fast.spool.records("bizocean") == slow.spool.records("bizocean")
    assert answers[0][0].count(b"HTTP/1.1 ") == len(requests)


def test_a_request_that_is_sent_before_the_answer_closes_the_connection_as_by_the_route(
    make_arms: Callable[..., Arms],
) -> None:
    fast, slow = make_arms(), make_arms()

    for pieces in ([get() + get()], [get() + b"GET"], [get(), b"GET"]):
        answers = [talk(app, pieces, wait=False) for app in (app_of(fast), framework(slow))]
        assert answers[0] == answers[1]
        assert answers[0][0].count(b"HTTP/1.1 200 OK") == 1
        assert answers[0][1], "it stays open"


def test_a_beacon_whose_page_has_gone_is_stored(make_arms: Callable[..., Arms]) -> None:
    arms, loop = make_arms(), Loop()
    connection, transport = connected(loop, app_of(arms))
    turn(loop)

    loop.call_soon(connection.data_received, get())
    loop.call_soon(connection.connection_lost, None)
    turn(loop)

    assert len(arms.spool.records("bizocean")) == 1
    assert transport.written == b""
    assert len(loop.patience) == 0
    loop.close()


def test_a_client_that_reads_nothing_gets_no_more_answers_until_it_does(make_arms: Callable[..., Arms]) -> None:
    arms, loop = make_arms(rates=Rates(per_second=1, burst=1)), Loop()
    connection, transport = connected(loop, app_of(arms))
    turn(loop)

    connection.pause_writing()
    for _ in range(3):  # the first is stored, all others would be too many
        loop.call_soon(connection.data_received, get())
        turn(loop)
    first = transport.written.count(b"HTTP/1.1 ")
    connection.resume_writing()
    turn(loop)

    assert first == 1
    assert transport.written.count(b"HTTP/1.1 ") == 1
    assert transport.is_closed  # it had sent more before it had the answer
    loop.close()


def test_a_worker_that_stops_closes_after_the_answer(make_arms: Callable[..., Arms]) -> None:
    arms, loop = make_arms(), Loop()
    connection, transport = connected(loop, app_of(arms))
    turn(loop)

    loop.call_soon(connection.data_received, get())
    loop.call_soon(setattr, connection.worker, "alive", False)
    turn(loop)

    assert transport.written.startswith(b"HTTP/1.1 200 OK")
    assert transport.is_closed
    loop.close()


def test_a_surprise_in_the_lane_is_told_and_left_to_the_framework(
    make_arms: Callable[..., Arms], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    arms = make_arms()
    monkeypatch.setattr(Lane, "judge", lambda *_: 1 / 0)

    answer, _ = talk(app_of(arms), [get()])

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert len(arms.spool.records("bizocean")) == 1
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("site", "request_"),
    [
        ("", get(method="HEAD")),
        ("", get(method="POST")),
        ("", get(http="1.0")),
        ("", get("/swallow/nobody")),
        ("", get("/hc")),
        ("", get("/swallow/bizocean/")),
        ("", get("http://127.0.0.1/swallow/bizocean")),
        ("", get(more="Authorization: Bearer x")),
        ("", get(more="Content-Length: 3") + b"abc"),
        ("", get(more="Connection: close")),
        ("", get(more="Expect: 100-continue")),
        ("", get(more="Connection: Upgrade\nUpgrade: websocket")),
        ("", get(more="Accept: a\nAccept: b")),
        ("", get(query=urlencode(NAMED | {"tit": "x"}) + "&tit=y")),
        ("", get(query=urlencode(NAMED | {"tit": "x"}) + "&uid=%ff")),
        ("", get(query=urlencode(NAMED) + "&uid=%00")),
        ("", get(query=urlencode(NAMED) + "&x=" * 100)),
        ("", get(query=urlencode(NAMED | {"debug": "1"}))),
        ("", get(query=urlencode(NAMED | {"re": "1"}))),
        ("", get(query="oid=2")),
        ("", post(f"{ONE}\n{ONE}")),
        ("", post('{"oid": "2"}')),
        ("", post("no JSON")),
        ("", post("\ud800")),
        ("", post("[1, 2]")),
        ("", post("[]")),
        ("", post(json.dumps(NAMED | {"tit": "\0"}))),
        ("", post(ONE[:-1] + ', "oid": "3"}')),
        ("", post(json.dumps(NAMED | {"debug": "1"}))),
        ("", post(" " * 20_000 + ONE)),
        ("", post(ONE, "/pirate/estimate")),
        ("", post(ONE, more="Expect: 100-continue")),
        ("", get(more=f"Content-Length: {2**64 + len(ONE.encode())}", method="POST") + ONE.encode()),
        ("", post("{}", "/swallow/bizocean", "X: y")),
        (ENFORCED, get()),
        (NOWHERE, get()),
    ],
)  # fmt: skip
def test_whatever_is_not_plain_goes_the_frameworks_way(
    make_arms: Callable[..., Arms], site: str, request_: bytes
) -> None:
    changes = {"bizocean": site} if site else {}
    fast, slow = make_arms(**changes), make_arms(**changes)
    taken = seen(fast)

    answers = talk(app_of(fast), [request_]), talk(framework(slow), [request_])

    assert True not in taken
    assert answers[0] == answers[1]


def test_a_site_whose_cookie_arms_sets_is_not_in_the_lane(make_arms: Callable[..., Arms]) -> None:
    arms = make_arms(bizocean=KEPT)
    taken = seen(arms)

    answer, _ = talk(app_of(arms), [get()])

    assert taken == [False]
    assert b"oceanus_sid=" in answer


def test_a_site_s_own_endpoint_is_in_the_lane_too(make_arms: Callable[..., Arms]) -> None:
    own = "{method: swallow, shape: access, tracker: {endpoint: /x}}"
    fast, slow = make_arms(bizpow=own), make_arms(bizpow=own)
    taken = seen(fast)

    answers = talk(app_of(fast), [get("/x")]), talk(framework(slow), [get("/x")])

    assert taken == [True]
    assert answers[0] == answers[1]
    assert fast.spool.pushes == slow.spool.pushes
    assert len(fast.spool.records("bizpow")) == 1


@pytest.mark.parametrize("origin", ["", "https://www.example.com", "https://other.example.com", "null", "\xe9"])
@pytest.mark.parametrize("request_", [get, lambda more: post(ONE, more=more)])
def test_the_answer_says_whether_a_page_may_read_it_as_the_routes_does(
    make_arms: Callable[..., Arms], request_: Callable[..., bytes], origin: str
) -> None:
    fast, slow = make_arms(bizocean=LISTED), make_arms(bizocean=LISTED)
    taken = seen(fast)
    asked = request_(more=f"Origin: {origin}" if origin else "")

    answers = talk(app_of(fast), [asked]), talk(framework(slow), [asked])

    assert taken == [True]
    assert answers[0] == answers[1]
    assert b"\r\nvary: Origin\r\n" in answers[0][0]
    is_listed = origin == "https://www.example.com"
    assert (b"\r\naccess-control-allow-origin: https://www.example.com\r\n" in answers[0][0]) == is_listed


@pytest.mark.parametrize("request_", [get(), post(ONE)])
def test_what_is_not_stored_or_too_much_is_answered_alike(make_arms: Callable[..., Arms], request_: bytes) -> None:
    fast, slow = (make_arms(rates=Rates(per_second=1, burst=1)) for _ in range(2))
    fast.spool.fall_silent()
    slow.spool.fall_silent()
    taken = seen(fast)

    answers = talk(app_of(fast), [request_] * 2), talk(framework(slow), [request_] * 2)

    assert taken == [True, True]
    assert answers[0] == answers[1]
    assert answers[0][0].startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"HTTP/1.1 429 Too Many Requests\r\n" in answers[0][0]
