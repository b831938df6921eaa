"""The beacons of the load: the sites they go to, and each request with the ids that it carries. Pure.

An id is a whole number, sent as `uid`, a field that every shape here has; so it stands in every row and failed record.
"""

import json
from dataclasses import dataclass
from urllib.parse import urlencode

from oceanus.sites import SAMPLE

ACCESS = {"oid": "2", "evt": "pageview", "sid": "86895a04e5a59600", "url": "https://shop.example/a?b=c", "tit": "Chaos"}
FORM = {"oid": "7", "sid": "86895a04e5a59600", "name": "A. Person", "jsn": '{"why": "chaos", "n": 7}'}
SERVER = {"rad": "203.0.113.9", "ua": "chaos/1"}
BATCH = 12
QUIET = "quiet"
NAMED = "named"  # its trackers name each beacon, and send it until it is answered

SITES = {
    "shop": "{method: swallow, shape: access, batch: {rows: 50, seconds: 1}, table: {form: partitioned}}",
    "news": "{method: swallow, shape: access, batch: {rows: 50, seconds: 1}, table: {form: partitioned}}",
    "daily": "{method: swallow, shape: access, batch: {rows: 25, seconds: 1}, table: {form: daily}}",
    "named": "{method: swallow, shape: access, batch: {rows: 50, seconds: 1}, table: {form: partitioned}}",
    "form": "{method: pirate, shape: form, batch: {rows: 1, seconds: 1}, table: {form: partitioned}}",
    "link": "{method: pierce, shape: link, batch: {rows: 1, seconds: 1}, table: {form: partitioned}, callers: any,"
    " alerts: true}",
}
# One turn: 18 requests with 29 beacons.
TURN = (
    *("shop", "form", "shop", "daily", "shop", "link", "shop", "form"),
    *("shop", "daily", "news", "shop", "form", "shop", "daily", "shop", "named", "named"),
)
TURN_BEACONS = sum(BATCH if site == "news" else 1 for site in TURN)


@dataclass(frozen=True, slots=True)
class Sending:
    """One HTTP request, and the ids in it; `is_batch`: each has an answer of its own.

    `again` is what its client sends when that was not answered, or 503; empty: it does not send again.
    """

    request: bytes
    ids: range
    is_batch: bool = False
    again: bytes = b""


ALERTS = """
limits: {a_minute: 10000}
destinations: {log: {kind: print}}
rules: {sevens: {sites: [link], when: {uid: {matches: "7$"}}, tell: [{to: log, text: "told {{ uid }}."}]}}
"""


def is_told(one: int) -> bool:
    """Say whether revelation tells of a beacon of the site `link`."""
    return one % 10 == 7


def sites_yaml(quiet: int) -> str:
    """Return a sites.yaml with the sample's shapes: the sites of the load, and some that hear nothing yet."""
    shapes = SAMPLE.read_text(encoding="utf-8").partition("\nsites:\n")[0]
    lines = [f"  {name}: {declared}" for name, declared in SITES.items()]
    lines += [f"  {QUIET}{number}: {SITES['shop']}" for number in range(quiet)]
    return shapes + "\nsites:\n" + "\n".join(lines) + "\n"


def sending(turn: int, first_id: int) -> Sending:
    """Return the request of a turn; its ids begin with `first_id`."""
    site = TURN[turn % len(TURN)]
    ids = range(first_id, first_id + (BATCH if site == "news" else 1))
    if site == "news":
        body = json.dumps([ACCESS | {"uid": str(one)} for one in ids]).encode()
        return Sending(_post("/swallow/news", body, "application/json"), ids, is_batch=True)
    if site == "form":
        body = urlencode(FORM | {"uid": first_id}).encode()
        return Sending(_post("/pirate/form", body, "application/x-www-form-urlencoded"), ids)
    if site == "link":
        return Sending(_get("/pierce/link", ACCESS | SERVER | {"uid": str(first_id)}), ids)
    return single(site, first_id)


def single(site: str, one: int) -> Sending:
    """Return one beacon of a browser."""
    if site == NAMED:
        beacon = ACCESS | {"uid": str(one), "cid": f"{one:032x}"}
        again = _get(f"/swallow/{site}", beacon | {"re": "1"})
        return Sending(_get(f"/swallow/{site}", beacon), range(one, one + 1), again=again)
    return Sending(_get(f"/swallow/{site}", ACCESS | {"uid": str(one)}), range(one, one + 1))


def _get(path: str, parameters: dict[str, str]) -> bytes:
    return f"GET {path}?{urlencode(parameters)} HTTP/1.1\r\nHost: chaos\r\nUser-Agent: chaos/1\r\n\r\n".encode()


def _post(path: str, body: bytes, kind: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: chaos\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
