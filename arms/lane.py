"""The lane: plain beacons by GET, or alone in a POST, judged before the framework makes objects of their requests.

What comes through here is stored and answered as the route Swallow does it: a test sends both the same requests.
Whatever is not plain goes the framework's way, untouched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import falcon.asgi
import orjson
from falcon.uri import parse_query_string

from arms import answers
from arms.bodies import TooManyError, batch
from arms.collector import Collector
from arms.gather import Told
from arms.intake import Accepted
from arms.limits import Limited
from arms.parameters import MAX_PARAMETERS, ParameterError
from arms.plain import plain_members
from oceanus.sites import Site

BODY_BYTES = 16 * 1024  # four times the longest page view of our tracker
# Headers with which the server has more to do than to read and to answer.
MORE = frozenset((b"transfer-encoding", b"expect", b"upgrade"))


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in HTTP's own bytes: the lines of its head but for the server's own, and its body."""

    head: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Way:
    """A site's way through the lane: its answers to a page of one origin.

    `results`: the head of an answer in JSON, but for its length. `listed`: the ways of the origins that the site lists.
    """

    site: Site
    origin: str | None
    listed: Mapping[bytes, "Way"]
    gif: Answer
    unavailable: Answer
    results: bytes


class Lane:
    """The ways of all sites, by path."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._ways: dict[bytes, Way] = {}
        first = collector.sites.first("swallow")
        for site in collector.sites.values():
            if not _is_plain(site):
                continue
            way = _way(site)
            paths = [f"/swallow/{site.name}", site.tracker.endpoint, "/swallow" if site == first else ""]
            self._ways |= {path.encode(): way for path in paths if path}

    def may_hold(self, target: bytes, given: Sequence[tuple[bytes, bytes]]) -> bool:
        """Say whether a POST may be plain, so that its body is worth waiting for; arguments as those of `judge`."""
        headers = dict(given)
        length = headers.get(b"content-length", b"")  # by its digits: the parser's number has 64 bits
        is_short = length.isdigit() and len(length) < 6 and 0 < int(length) <= BODY_BYTES
        return is_short and MORE.isdisjoint(headers) and target.partition(b"?")[0] in self._ways

    def judge(
        self, target: bytes, given: Sequence[tuple[bytes, bytes]], peer: str, body: bytes | None = None
    ) -> "tuple[Way, Accepted | Limited] | None":
        """Return a plain beacon, accepted or limited, and its site's way; None for whatever is not one.

        `target` and `given` as they stand in a request, but the names of headers small; `peer`: who sent it, an address
        by `plain_address`; `body`: that of a POST, of at most BODY_BYTES.
        """
        path, _, query = target.partition(b"?")
        way = self._ways.get(path)
        if way is None:
            return None
        headers = dict(given)
        if len(headers) < len(given) or not MORE.isdisjoint(headers):
            return None
        way = way.listed.get(headers.get(b"origin", b""), way)
        parameters = plain_parameters(query) if body is None else plain_body(body)
        if parameters is None:
            return None
        forwarded = headers.get(b"x-forwarded-for")
        address = self._collector.address_of(forwarded.decode("latin-1") if forwarded else None, peer)
        outcome = self._collector.judge_plain(way.site, parameters, headers, address)
        return None if outcome is None else (way, outcome)

    def put(self, way: Way, accepted: Accepted, told: Told) -> None:
        """Store an accepted beacon; `told` hears once what has become of it."""
        self._collector.put_accepted(way.site, accepted, told)


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


def plain_body(body: bytes) -> dict[str, Any] | None:
    """Return the parameters of a body that is one JSON object; None for all else."""
    if b"\\u" in body:
        return None
    try:
        beacons = batch(body)
    except (ParameterError, TooManyError):
        return None
    return plain_members(beacons[0]) if len(beacons) == 1 else None


def posted(way: Way, accepted: Accepted) -> Answer:
    """Return the answer to a beacon that came in a POST and is stored."""
    body = orjson.dumps({"results": [{"status": 200, "eid": accepted.eid}]})
    return Answer(b"%bcontent-length: %d\r\n" % (way.results, len(body)), body)


def limited(way: Way, outcome: Limited) -> Answer:
    """Return the answer to whoever has had enough."""
    resp = _response(way.site, way.origin)
    answers.limited(resp, outcome.reason, outcome.seconds)
    return _answer(resp)


def _is_plain(site: Site) -> bool:
    """Say whether neither the sender of a site's beacon has to be judged nor its session to be kept."""
    return site.method == "swallow" and not site.origins.enforce and site.tracker.cookie == "script"


def _way(site: Site, origin: str | None = None) -> Way:
    gif, unavailable, results = (_response(site, origin) for _ in range(3))
    answers.gif(gif)
    answers.unavailable(unavailable)
    results.content_type = "application/json"
    listed = {one.encode(): _way(site, one) for one in site.origins.allow if one.isascii()} if origin is None else {}
    return Way(site, origin, listed, _answer(gif), _answer(unavailable), _head(results))


def _response(site: Site, origin: str | None) -> falcon.asgi.Response:
    resp = falcon.asgi.Response()
    answers.cors(resp, site.origins, origin)
    return resp


def _answer(resp: falcon.asgi.Response) -> Answer:
    body = (resp.data if resp.text is None else resp.text.encode()) or b""
    return Answer(b"%bcontent-length: %d\r\n" % (_head(resp), len(body)), body)


def _head(resp: falcon.asgi.Response) -> bytes:
    first = f"HTTP/1.1 {resp.status_code} {HTTPStatus(resp.status_code).phrase}"
    return "".join(f"{line}\r\n" for line in [first, *map(": ".join, resp.headers.items())]).encode("latin-1")
