"""The visits: a browser's session where arms keeps it, in a cookie of its own, or nowhere at all. Pure.

Browsers keep a script's cookie for 7 days, and a server's for as long as it says. So where a site asks for it
(`cookie: arms`), each answer sets the script's cookie anew: the same name, form and value. Never for who objects.
Where no cookie is set (`cookie: none`), a beacon without a session is given one that means nothing beyond it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from oceanus.sites import Site

COOKIE = "oceanus_sid"
# 400 days, the longest that browsers allow: datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis
SECONDS = 34_560_000
_SESSION = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Visit:
    """The session for beacons that bring none, and the cookie to set (None: no cookie)."""

    sid: str
    cookie: str | None


def visit(site: Site, sids: Iterable[Any], cookies: str, minted: str, *, objects: bool, is_https: bool) -> Visit:
    """Return the visit of one request.

    `sids` are the sessions that its beacons bring, `cookies` the header of that name, `minted` 16 random digits.
    """
    if site.tracker.cookie != "arms" or objects:
        return Visit(minted, None)
    sid = next(filter(is_session, [*sids, *in_cookies(cookies)]), minted)
    secure = "; Secure" if is_https else ""
    said = f"{COOKIE}={sid}; Path=/; Domain={site.cookie_domain}; Max-Age={SECONDS}; SameSite=Lax{secure}"
    return Visit(sid, said)


def is_session(value: Any) -> bool:
    """Say whether a value is a session as the tracker makes them."""
    return isinstance(value, str) and _SESSION.fullmatch(value) is not None


def in_cookies(header: str) -> list[str]:
    """Return what a Cookie header says of the session, in its order."""
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return [value for name, _, value in pairs if name == COOKIE]


def named(beacons: Sequence[Any], sid: str) -> list[Any]:
    """Return the beacons of a batch, with a session for each that brings none."""
    return [one | {"sid": sid} if isinstance(one, dict) and one.get("sid") in (None, "") else one for one in beacons]
