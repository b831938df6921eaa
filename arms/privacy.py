"""Privacy: what a visitor's objection and a site's policy leave of a beacon, before anything is stored. Pure.

Signals: `Sec-GPC: 1` (w3c.github.io/gpc), `DNT: 1`, and the site's own consent parameter.
"""

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import unquote, urlencode

from oceanus.records import Record
from oceanus.sites import Privacy, Site

DENIED = frozenset(("denied", "0", "no", "false"))
MASKED = ("url", "ref")
# An address of mail, plain or percent-encoded, wherever it stands in a URL, but never from within an escape.
_MAIL = re.compile(
    r"(?<!%)(?<!%[0-9A-F])(?:[\w.!$'*+^{|}~-]|%2B|%2E)+(?:@|%40)[\w-]+(?:(?:\.|%2E)[\w-]+)+", re.IGNORECASE
)


def objects(privacy: Privacy, headers: Mapping[str, str], parameters: Mapping[str, Any]) -> bool:
    """Say whether this visitor objects to being followed."""
    if headers.get("sec-gpc") == "1" or headers.get("dnt") == "1":
        return True
    return bool(privacy.consent) and str(parameters.get(privacy.consent or "", "")).lower() in DENIED


def anonymous(site: Site, record: Record) -> Record:
    """Return the record without what tells who it was: fields marked blank are emptied, addresses cut."""
    kept = dict(record)
    for field in site.fields:
        if field.name not in kept or field.anonymous == "keep":
            continue
        if field.anonymous == "cut":
            kept[field.name] = cut_address(str(kept[field.name]))
        elif field.mode == "REQUIRED":
            kept[field.name] = ""
        else:
            del kept[field.name]
    if site.unknown:
        kept.pop(site.unknown, None)
    return kept


def cut_address(address: str) -> str:
    """Return the address of its /24 (IPv4) or /48 (IPv6) network; what is no address becomes empty."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return ""
    return str(ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False).network_address)


def mask(names: frozenset[str], address: str) -> str:
    """Return a URL with the values of those query parameters blank, and mail addresses with them."""
    head, mark, query = address.partition("?")
    query, hash_mark, fragment = query.partition("#")
    if mark:
        query = re.sub(r"[^&;]+", lambda pair: _blank(names, pair[0]), query)
    return _MAIL.sub("", head + mark + query + hash_mark + fragment)


def masked(privacy: Privacy, record: Record) -> Record:
    """Return the record with `url` and `ref` masked, where the site asks for it."""
    if privacy.mask is None:
        return record
    return record | {name: mask(privacy.mask, record[name]) for name in MASKED if isinstance(record.get(name), str)}


def clean_raw(site: Site, parameters: Iterable[tuple[str, Any]], objecting: bool) -> str:
    """Return the parameters of a rejected beacon as a query string, with all that the policy forbids taken out."""
    personal = {field.name for field in site.fields if field.anonymous != "keep"} if objecting else set()
    declared = {field.name for field in site.fields}
    kept = []
    for name, value in parameters:
        if name in personal or (objecting and name not in declared):
            continue
        if site.privacy.mask is not None and isinstance(value, str):
            kept.append((name, mask(site.privacy.mask, value) if name in MASKED else _MAIL.sub("", value)))
        else:
            kept.append((name, value))
    return urlencode(kept)


def _blank(names: frozenset[str], pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return name + equals if unquote(name).lower() in names else pair
