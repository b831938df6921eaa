"""Privacy: what a visitor's objection and a site's policy leave of a beacon, before anything is stored. Pure.

Signals: `Sec-GPC: 1` (w3c.github.io/gpc), `DNT: 1`, the parameters `gpc=1` and `dnt=1`, by which a tracker tells what
its browser tells pages alone, and the site's own consent parameter.
"""

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import unquote, urlencode

from oceanus.records import Record
from oceanus.sites import Privacy, Site

SIGNALS = ("sec-gpc", "dnt")
DENIED = frozenset(("denied", "0", "no", "false"))
TOLD = ("gpc", "dnt")
MASKED = ("url", "ref")
# An address of mail, plain or percent-encoded, wherever it stands in a URL, but never from within an escape. Each part
# is bounded (RFC 5321: 64 before the @), so that a long text costs no more than its length.
_MAIL = re.compile(
    r"(?<!%)(?<!%[0-9A-F])(?:[\w.!$'*+^{|}~-]|%2B|%2E){1,64}(?:@|%40)[\w-]{1,63}(?:(?:\.|%2E)[\w-]{1,63}){1,8}",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(r"([?&;#]|%3F|%26|%3B|%23)", re.IGNORECASE)
_EQUALS = re.compile(r"=|%3D", re.IGNORECASE)


def objects(privacy: Privacy, headers: Mapping[str, str], parameters: Iterable[tuple[str, Any]]) -> bool:
    """Say whether this visitor objects to being followed; of several answers to the consent question, no is the one."""
    if any(headers.get(name) == "1" for name in SIGNALS):
        return True
    return any(
        (name == privacy.consent and str(value).lower() in DENIED) or (name in TOLD and str(value) == "1")
        for name, value in parameters
    )


def may_object(privacy: Privacy, raw: str) -> bool:
    """Say whether a text that cannot be read as parameters says that its visitor objects."""
    said = [rf"(?:{'|'.join(TOLD)})\"?\s*[=:]\s*\"?1"]
    if privacy.consent is not None:
        said.append(rf"{re.escape(privacy.consent)}\"?\s*[=:]\s*\"?(?:{'|'.join(sorted(DENIED))})")
    return re.search(rf"(?<!\w)(?:{'|'.join(said)})(?!\w)", unquote(raw), re.IGNORECASE) is not None


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
    """Return a URL with the values of those parameters blank, and mail addresses with them.

    A parameter is one in the query, in the fragment, or in a URL that is itself a parameter.
    """
    head, *rest = _SEPARATOR.split(address)
    parts = [_blank(names, part) if place % 2 else part for place, part in enumerate(rest)]
    return _MAIL.sub("", head + "".join(parts))


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
        if site.privacy.mask is None:
            kept.append((name, value))
        elif isinstance(value, str):
            kept.append((name, mask(site.privacy.mask, value) if name in MASKED else _MAIL.sub("", value)))
    return urlencode(kept)


def stays_whole(parameters: Iterable[tuple[str, Any]]) -> bool:
    """Say whether masking takes nothing out of these parameters that a record would keep."""
    return all(isinstance(value, str) and (name in MASKED or not _MAIL.search(value)) for name, value in parameters)


def _blank(names: frozenset[str], pair: str) -> str:
    equals = _EQUALS.search(pair)
    if equals is None or unquote(pair[: equals.start()]).lower() not in names:
        return pair
    return pair[: equals.end()]
