"""What comes through the lane is stored and answered as the route does it."""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import falcon.asgi
import pytest

from arms.app import App
from arms.rates import Rates
from tests.arms.conftest import Arms
from tests.arms.serving import GOOD

Scope = dict[str, Any]
NAMED = GOOD | {"cid": "0123456789abcdef0123456789abcdef"}
AGENT = (b"user-agent", b"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148")


def scope(
    path: str = "/swallow/bizocean", query: str = "", method: str = "GET", more: tuple[tuple[bytes, bytes], ...] = ()
) -> Scope:
    """Return a request as gunicorn hands it over."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": (query or urlencode(NAMED)).encode(),
        "headers": [(b"host", b"127.0.0.1"), AGENT, *more],
        "client": ("127.0.0.1", 4000),
        "server": ("127.0.0.1", 80),
    }


def ask(app: Callable[..., Any], request: Scope) -> tuple[int, dict[bytes, bytes], bytes]:
    """Return status, headers and body of an answer."""
    events: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event: dict[str, Any]) -> None:
        events.append(event)

    asyncio.run(app(request, receive, send))
    start, *rest = events
    return start["status"], dict(start["headers"]), b"".join(event.get("body", b"") for event in rest)


def by_framework(app: App) -> Callable[..., Any]:
    """Return the application as it is without its lane."""
    return lambda *request: falcon.asgi.App.__call__(app, *request)  # type: ignore[arg-type, call-arg] # an ASGI call


def app_of(arms: Arms) -> App:
    """Return the application that a collector's client talks to."""
    return arms.client.app


REQUESTS = {
    "a beacon": scope(),
    "of the first site": scope("/swallow"),
    "with an origin": scope(more=((b"origin", b"https://www.example.com"),)),
    "behind a proxy": scope(more=((b"x-forwarded-for", b"203.0.113.9"),)),
    "with an encoded title": scope(query=urlencode(NAMED | {"tit": "お問い合わせ & more+"})),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_plain_beacon_is_answered_and_stored_as_by_the_route(make_arms: Callable[..., Arms], name: str) -> None:
    fast, slow = make_arms(proxies=1), make_arms(proxies=1)
    assert app_of(fast).lane.judge(REQUESTS[name])

    answers = ask(app_of(fast), REQUESTS[name]), ask(by_framework(app_of(slow)), REQUESTS[name])

    assert answers[0] == answers[1]
    assert answers[0][0] == 200
    assert fast.spool.pushes == slow.spool.pushes
    assert len(fast.spool.records("bizocean")) == 1


LISTED = '{method: swallow, shape: access, origins: {allow: ["https://www.example.com"]}}'
ENFORCED = '{method: swallow, shape: access, origins: {allow: ["https://www.example.com"], enforce: true}}'

KEPT = LISTED.replace("access,", "access, cookie_domain: example.com, tracker: {cookie: arms},")
NOWHERE = "{method: swallow, shape: access, tracker: {cookie: none}}"


@pytest.mark.parametrize(
    ("site", "request_"),
    [
        ("", scope(method="HEAD")),
        ("", scope(method="POST")),
        ("", scope("/swallow/nobody")),
        ("", scope("/gaze/mailaction")),
        ("", scope("/swallow/bizocean/")),
        ("", scope(more=((b"authorization", b"Bearer x"),))),
        ("", scope(more=((b"content-length", b"3"),))),
        ("", scope(more=((b"accept", b"a"), (b"accept", b"b")))),
        ("", scope(query=urlencode(NAMED | {"tit": "x"}) + "&tit=y")),
        ("", scope(query=urlencode(NAMED | {"tit": "x"}) + "&uid=%ff")),
        ("", scope(query=urlencode(NAMED) + "&uid=%00")),
        ("", scope(query=urlencode(NAMED) + "&x=" * 100)),
        ("", scope(query=urlencode(NAMED | {"debug": "1"}))),
        ("", scope(query=urlencode(NAMED | {"re": "1"}))),
        ("", scope(query="oid=2")),
        (LISTED, scope(more=((b"origin", b"https://www.example.com"),))),
        (ENFORCED, scope()),
        (KEPT, scope()),
        (NOWHERE, scope()),
    ],
)  # fmt: skip
def test_whatever_is_not_plain_goes_the_frameworks_way(
    make_arms: Callable[..., Arms], site: str, request_: Scope
) -> None:
    changes = {"bizocean": site} if site else {}

    assert app_of(make_arms(**changes)).lane.judge(request_) is None


def test_a_site_s_own_endpoint_is_in_the_lane_too(make_arms: Callable[..., Arms]) -> None:
    own = "{method: swallow, shape: access, tracker: {endpoint: /x}}"
    fast, slow = make_arms(bizpow=own), make_arms(bizpow=own)
    assert app_of(fast).lane.judge(scope("/x"))

    answers = ask(app_of(fast), scope("/x")), ask(by_framework(app_of(slow)), scope("/x"))

    assert answers[0] == answers[1]
    assert fast.spool.pushes == slow.spool.pushes
    assert len(fast.spool.records("bizpow")) == 1


def test_a_listed_origin_makes_no_difference_to_an_image(make_arms: Callable[..., Arms]) -> None:
    fast, slow = make_arms(bizocean=LISTED), make_arms(bizocean=LISTED)

    answers = ask(app_of(fast), scope()), ask(by_framework(app_of(slow)), scope())

    assert answers[0] == answers[1]
    assert answers[0][1][b"vary"] == b"Origin"
    assert app_of(fast).lane.judge(scope())


def test_what_is_not_stored_or_too_much_is_answered_alike(make_arms: Callable[..., Arms]) -> None:
    fast, slow = (make_arms(rates=Rates(per_second=1, burst=1)) for _ in range(2))
    fast.spool.fall_silent()
    slow.spool.fall_silent()

    first = ask(app_of(fast), scope()), ask(by_framework(app_of(slow)), scope())
    second = ask(app_of(fast), scope()), ask(by_framework(app_of(slow)), scope())

    assert first[0] == first[1]
    assert first[0][0] == 503
    assert second[0] == second[1]
    assert second[0][0] == 429
