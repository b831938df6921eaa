"""Content-Security-Policy: would a browser that has it load this address from that page? Pure.

As w3.org/TR/CSP3 says, for what a tracker does: load a script, connect, show an image. Policies that only report refuse
nothing.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

# The directives that decide, the first that is there.
_DECIDING = {
    "script": ("script-src-elem", "script-src", "default-src"),
    "connect": ("connect-src", "default-src"),
    "img": ("img-src", "default-src"),
}
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?:([a-z][a-z0-9+.-]*)://)?(\*|(?:\*\.)?[^/:*]+)(?::(\d+|\*))?(/.*)?", re.IGNORECASE)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_HASH = re.compile(r"sha(?:256|384|512)-[A-Za-z0-9+/_=-]+")

Policy = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a page wants to load: `kind` is script, connect or img; nonce and integrity are those of a script's tag."""

    kind: str
    url: str
    nonce: str = ""
    integrity: str = ""


def policies(headers: Iterable[str]) -> list[Policy]:
    """Return the policies of some headers or meta elements; each may hold several, and all of them count."""
    return [found for header in headers for text in header.split(",") if (found := _policy(text))]


def refusing(every: Iterable[Policy], wanted: Wanted, page: str) -> str:
    """Return the first directive that refuses what a page (its address) wants; empty if none does."""
    for policy in every:
        name = next((one for one in _DECIDING[wanted.kind] if one in policy), None)
        if name is not None and not _allows(policy[name], wanted, urlsplit(page)):
            return " ".join([name, *policy[name]])
    return ""


def _policy(text: str) -> Policy:
    found: Policy = {}
    for words in (directive.split() for directive in text.split(";")):
        if words:
            found.setdefault(words[0].lower(), words[1:])
    return found


def _allows(sources: list[str], wanted: Wanted, page: SplitResult) -> bool:
    if wanted.kind == "script":
        if wanted.nonce and f"'nonce-{wanted.nonce}'" in sources:
            return True
        hashes = _HASH.findall(wanted.integrity)
        if hashes and all(f"'{one}'" in sources for one in hashes):
            return True
        if "'strict-dynamic'" in map(str.lower, sources):
            return False  # addresses mean nothing then
    url = urlsplit(wanted.url)
    return any(_matches(source, url, page) for source in sources)


def _matches(source: str, url: SplitResult, page: SplitResult) -> bool:
    if source == "*":
        return url.scheme in ("http", "https", page.scheme)
    if source.lower() == "'self'":
        same = (url.hostname, _port(url)) == (page.hostname, _port(page))
        upgraded = url.hostname == page.hostname and (_port(page), _port(url)) == (80, 443)
        return (same and _is_scheme(page.scheme, url.scheme)) or (upgraded and url.scheme == "https")
    scheme = _SCHEME.fullmatch(source)
    if scheme:
        return _is_scheme(scheme[1].lower(), url.scheme)
    return not source.startswith("'") and _is_host(source, url, page)


def _is_host(source: str, url: SplitResult, page: SplitResult) -> bool:
    match = _HOST.fullmatch(source)
    if match is None:
        return False
    scheme, host, port, path = match.groups()
    if not _is_scheme((scheme or page.scheme).lower(), url.scheme):
        return False
    name, wished = (url.hostname or "").lower(), host.lower()
    fits = name.endswith(wished[1:]) if wished.startswith("*.") else wished in ("*", name)
    return fits and _is_port(port, url) and _is_path(path, url.path)


def _is_scheme(wished: str, there: str) -> bool:
    """Say whether a scheme will do: https does for http."""
    return there == wished or (wished, there) == ("http", "https")


def _is_port(wished: str | None, url: SplitResult) -> bool:
    if wished is None:
        return _port(url) == _PORTS.get(url.scheme)
    return wished == "*" or int(wished) == _port(url) or (int(wished), _port(url)) == (80, 443)


def _is_path(wished: str | None, path: str) -> bool:
    if wished in (None, "", "/"):
        return True
    pieces, there = unquote(str(wished)), unquote(path)
    return there.startswith(pieces) if pieces.endswith("/") else there == pieces


def _port(url: SplitResult) -> int | None:
    try:
        return url.port or _PORTS.get(url.scheme)
    except ValueError:
        return None
