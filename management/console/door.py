"""The door: who is let in. A page of our own alone, and only with the cookie where a token is set. Pure.

A foreign page that a name leads here (DNS rebinding) comes with that name as `Host`: names that we do not know are
refused. What it sends across origins comes with its own `Origin`: nothing is changed without ours. The token is
exchanged once for a cookie, which holds how long it is good and a signature, so that nothing need be remembered.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address

COOKIE = "oceanus_console"
COOKIE_SECONDS = 12 * 3600
TRIES, TRIES_SECONDS = 10, 60.0
SAFE = ("GET", "HEAD")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?")
# What a page elsewhere may link to.
LINKED = ("/", "/login")
# Before the token: what the page that asks for it is made of.
OPEN = ("/login", "/hc", "/page/console.css", "/page/login.js")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the door looks at in a request."""

    method: str
    path: str
    host: str
    origin: str | None
    cookie: str | None
    fetch_site: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why somebody is not let in; a status of 401 means that the token would help."""

    status: int
    sentence: str


class Door:
    """Keeps the token, and how often a wrong one was tried of late."""

    def __init__(self, token: str, hosts: Collection[str]) -> None:
        self._token = token
        self._hosts = frozenset(one.lower() for one in hosts)
        self._wrong: list[float] = []

    @property
    def asks(self) -> bool:
        """Say whether a token is asked for."""
        return bool(self._token)

    def refusal(self, asked: Asked, now: float) -> Refusal | None:
        """Return why a request is refused; None lets it in. `now`: seconds since 1970."""
        if not self._is_ours(asked.host):
            remedy = "open it as 127.0.0.1 or localhost, or name it in CONSOLE_HOSTS"
            return Refusal(403, f"this console is not called {asked.host[:100]}: {remedy}")
        if asked.fetch_site in ("cross-site", "same-site") and asked.path not in LINKED:
            return Refusal(403, "asked for by a page of another origin: open the console itself")
        if asked.method not in SAFE and not _is_same(asked.origin, asked.host):
            return Refusal(403, "Origin is not this console: press the button on its own page")
        if self._token and asked.path not in OPEN and not self.is_good(asked.cookie, now):
            return Refusal(401, "log in with CONSOLE_TOKEN")
        return None

    def enter(self, token: str, now: float) -> str | Refusal:
        """Return the cookie for a token; ten wrong ones a minute are all that is looked at."""
        self._wrong = [then for then in self._wrong if 0 <= now - then < TRIES_SECONDS]
        if len(self._wrong) >= TRIES:
            return Refusal(429, "too many wrong tokens: wait a minute")
        if not self._token or not hmac.compare_digest(token.encode(errors="replace"), self._token.encode()):
            self._wrong.append(now)
            return Refusal(401, "that is not the token of this console: it is what CONSOLE_TOKEN was set to")
        good_until = f"{int(now) + COOKIE_SECONDS}.{secrets.token_hex(8)}"
        return f"{good_until}.{self._signed(good_until)}"

    def is_good(self, cookie: str | None, now: float) -> bool:
        """Say whether a cookie is one of ours and still good."""
        told, _, signature = (cookie or "").rpartition(".")
        until = told.partition(".")[0]
        if not hmac.compare_digest(signature.encode(errors="replace"), self._signed(told).encode()):
            return False
        return until.isascii() and until.isdigit() and now < int(until)

    def _signed(self, told: str) -> str:
        key = hashlib.sha256(f"oceanus console\0{self._token}".encode()).digest()
        return hmac.new(key, told.encode(errors="replace"), hashlib.sha256).hexdigest()

    def _is_ours(self, host: str) -> bool:
        """Say whether no foreign name can lead to a Host: an address, localhost, or a name that we were told."""
        match = _HOST.fullmatch(host)
        if not match:
            return False
        name = match[1].removeprefix("[").removesuffix("]").lower()
        return name == "localhost" or name in self._hosts or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_same(origin: str | None, host: str) -> bool:
    """Say whether an Origin is the address that was asked; a proxy in front may speak https for us."""
    return origin is not None and origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")
