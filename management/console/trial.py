"""The trial: a test beacon, sent through arms as a browser sends one, and marked so that anybody can tell it. Pure.

Its event is `test`, its page has an address that cannot exist, and its session begins with 7e57. It has a name of its
own (`cid`), so that its event id is known before it is sent, and it can be watched on its way.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from oceanus import records
from oceanus.sites import Field, Site

EVENT = "test"
PAGE = "https://console.invalid/test"
TITLE = "Test beacon of the console"
AGENT = "Mozilla/5.0 (compatible; oceanus-console-test)"
_VALUES = {"integer": "1", "number": "1", "float": "1", "boolean": "true"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A test beacon on paper: what is asked of arms, and the event that it will be."""

    eid: str
    method: str
    path: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]


def trial(site: Site, token: str = "") -> Trial:
    """Return a test beacon for a site; `token` is that of trusted callers, for a site that takes no other."""
    cid = secrets.token_hex(16)
    known = {"sid": f"7e57{secrets.token_hex(6)}", "oid": "0", "evt": EVENT, "tit": TITLE, "url": PAGE}
    known |= {"rad": "127.0.0.1", "ua": AGENT}
    asked = [field for field in site.fields if field.source in ("query", "form")]
    parameters = {field.name: value for field in asked if (value := known.get(field.name) or _needed(field))}
    headers = {"User-Agent": AGENT}
    if site.origins.allow:
        headers["Origin"] = min(site.origins.allow)
    if site.method == "pierce" and site.callers == "token" and token:
        headers["Authorization"] = f"Bearer {token}"
    return Trial(
        eid=records.named(site.name, cid),
        method="POST" if site.method == "pirate" else "GET",
        path=f"/{site.method}/{quote(site.name, safe='')}",
        parameters=parameters | {"cid": cid},
        headers=headers,
    )


def _needed(field: Field) -> str:
    """Return something for a field that must be there; the rule says whether it is taken."""
    if not field.rule.get("required") or "default" in field.rule:
        return ""
    allowed = field.rule.get("allowed")
    return str(next(iter(allowed))) if allowed else _VALUES.get(str(field.rule.get("type")), EVENT)
