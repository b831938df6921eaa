"""The lane: plain beacons by GET, taken before the framework makes a Request and a Response of them.

What comes through here is stored and answered as the route Swallow does it: a test sends both the same requests.
Whatever is not plain goes the framework's way, untouched.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import falcon.asgi
from falcon.uri import parse_query_string

from arms import answers
from arms.arrival import plain_address
from arms.collector import Collector
from arms.gather import NotStoredError
from arms.intake import Accepted
from arms.limits import Limited
from arms.parameters import MAX_PARAMETERS, header_text
from oceanus.sites import Site

BODY = frozenset((b"content-length", b"transfer-encoding"))


@dataclass(frozen=True, slots=True)
class Way:
    """A site's way through the lane: headers with which a beacon goes the framework's, and the events of its GIF."""

    site: Site
    avoided: frozenset[bytes]
    start: dict[str, Any]
    body: dict[str, Any]


class Lane:
    """The ways of all sites, by path."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        sites = [site for site in collector.sites.values() if _is_plain(site)]
        self._ways = {f"/swallow/{site.name}": _way(site) for site in sites}
        self._ways |= {
            site.tracker.endpoint: self._ways[f"/swallow/{site.name}"] for site in sites if site.tracker.endpoint
        }
        first = collector.sites.first("swallow")
        if first in sites:
            self._ways["/swallow"] = self._ways[f"/swallow/{first.name}"]

    def judge(self, scope: Mapping[str, Any]) -> "tuple[Way, Accepted | Limited] | None":
        """Return a plain beacon, accepted or limited, and its site's way; None for whatever is not one."""
        way = self._ways.get(scope["path"])
        if way is None or scope["method"] != "GET":
            return None
        given = scope["headers"]
        if not isinstance(given, list):  # it could be read once only, and the framework may have to
            return None
        headers = dict(given)
        if len(headers) < len(given) or not way.avoided.isdisjoint(headers):
            return None
        parameters = plain_parameters(scope["query_string"])
        if parameters is None:
            return None
        peer, *_ = scope.get("client") or ("",)
        forwarded = headers.get(b"x-forwarded-for")
        address = self._collector.address_of(forwarded and header_text(forwarded), plain_address(peer))
        outcome = self._collector.judge_plain(way.site, parameters, headers, address)
        return None if outcome is None else (way, outcome)

    async def keep(self, way: Way, outcome: "Accepted | Limited", send: Any) -> None:
        """Store what was judged, and answer."""
        if isinstance(outcome, Limited):
            resp = _response(way.site)
            answers.limited(resp, outcome.reason, outcome.seconds)
        else:
            try:
                await self._collector.store_accepted(way.site, outcome)
            except NotStoredError:
                resp = _response(way.site)
                answers.unavailable(resp)
            else:
                await send(way.start)
                await send(way.body)
                return
        for event in _events(resp):
            await send(event)


def plain_parameters(raw: bytes) -> dict[str, str] | None:
    """Return the parameters of a query string as Falcon reads them; None where arms.parameters may read other ones.

    Falcon puts U+FFFD where bytes are no UTF-8, and a list where a parameter is given more than once.
    """
    if not raw.isascii() or raw.count(b"&") >= MAX_PARAMETERS:
        return None
    read = cast(dict[str, str], parse_query_string(raw.decode()))
    try:
        text = "".join(read) + "".join(read.values())
    except TypeError:
        return None
    return None if "\ufffd" in text or "\0" in text else read


def _is_plain(site: Site) -> bool:
    """Say whether neither the sender of a site's beacon has to be judged nor its session to be kept."""
    return site.method == "swallow" and not site.origins.enforce and site.tracker.cookie == "script"


def _way(site: Site) -> Way:
    resp = _response(site)
    answers.gif(resp)
    start, body = _events(resp)
    return Way(site, BODY.union([b"origin"] if site.origins.allow else []), start, body)


def _response(site: Site) -> falcon.asgi.Response:
    resp = falcon.asgi.Response()
    answers.cors(resp, site.origins, None)
    return resp


def _events(resp: falcon.asgi.Response) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an answer as the two events of ASGI: asgi.readthedocs.io/en/latest/specs/www.html."""
    body = resp.data if resp.text is None else resp.text.encode()
    headers = [*resp.headers.items(), ("content-length", str(len(body or b"")))]
    start = {
        "type": "http.response.start",
        "status": resp.status_code,
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
    }
    return start, {"type": "http.response.body", "body": body or b""}
