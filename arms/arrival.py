"""The arrival: one HTTP request as arms sees it: raw query, headers as text, the client's address, a bounded body."""

import re
from functools import lru_cache
from typing import Any

import falcon.asgi

from arms.parameters import header_text

BODY_BYTES = 64 * 1024
BATCH_BYTES = 1024 * 1024
REMEMBERED_CHARACTERS = 64  # an address with its port, but not whatever a client may claim to be one
_PORT = re.compile(r"^(?:\[(?P<six>[^\]]+)\]|(?P<four>\d+\.\d+\.\d+\.\d+))(?::\d+)?$")


class BodyTooLargeError(Exception):
    """The body is larger than this route takes: answer 413."""


class BodyCutError(Exception):
    """The body ended before it was whole: nobody waits for an answer, and nothing of it may be stored."""


class Request(falcon.asgi.Request):
    """Falcon's request, but for the query string: it is kept raw, to be decoded strictly by arms.parameters."""

    def __init__(self, scope: dict[str, Any], receive: Any, first_event: Any = None, options: Any = None) -> None:
        self.raw_query: bytes = scope["query_string"]
        self._peer: str | None = None
        self._is_cut = False

        async def heard() -> dict[str, Any]:
            event: dict[str, Any] = await receive()
            self._is_cut = self._is_cut or event["type"] == "http.disconnect"
            return event

        super().__init__(scope | {"query_string": b""}, heard, first_event=first_event, options=options)

    def add(self, name: str, value: str) -> None:
        """Add a plain parameter to the query string, as if it had come with it."""
        pair = f"{name}={value}".encode()
        self.raw_query = self.raw_query + b"&" + pair if self.raw_query else pair
        self._params[name] = value

    def is_https(self) -> bool:
        """Say whether the visitor speaks TLS, by the word of whoever is in front: it decides for that visitor alone."""
        told: str = self.get_header("X-Forwarded-Proto", default=self.scheme)
        return told.partition(",")[0].strip().lower() == "https"

    def raw_headers(self) -> dict[bytes, bytes]:
        """Return all headers by small name, as they came."""
        return self._asgi_headers

    def texts(self) -> dict[str, str]:
        """Return all headers by small name, as text."""
        return {name.decode("latin-1"): header_text(value) for name, value in self._asgi_headers.items()}

    def peer(self) -> str:
        """Return the address of whoever holds the other end of the connection."""
        if self._peer is None:
            host, *_ = self.scope.get("client") or ("",)
            self._peer = plain_address(host)
        return self._peer

    async def body(self, most: int = BODY_BYTES) -> bytes:
        """Return the whole body; raises BodyTooLargeError above `most` bytes, BodyCutError where its sender went away.

        Falcon's stream ends in the same way where a body ends and where it is cut.
        """
        announced = self._asgi_headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > most:
            raise BodyTooLargeError
        read = bytes(await self.stream.read(most + 1))
        if len(read) > most:
            raise BodyTooLargeError
        if self._is_cut:
            raise BodyCutError
        return read


def client_address(forwarded: str | None, peer: str, trusted_proxies: int) -> str:
    """Return the client's address: the one that the outermost trusted proxy saw.

    Each trusted proxy appends whom it saw to X-Forwarded-For, and the last of them is `peer`; so the client stands
    `trusted_proxies` places before the end. What stands before that was claimed by the client and means nothing.
    Behind Google's load balancer the header ends with `client, balancer`, and the peer is Google's front end: 2.
    """
    if trusted_proxies == 0 or not forwarded:
        return peer
    chain = [*(part.strip() for part in forwarded.split(",")), peer]
    if len(chain) <= trusted_proxies:
        return peer
    return plain_address(chain[-1 - trusted_proxies]) or peer


def plain_address(text: str) -> str:
    """Return an address without port, brackets and the IPv4-in-IPv6 prefix; empty for `unknown` and the like."""
    return _remembered(text) if len(text) <= REMEMBERED_CHARACTERS else _plain_address(text)


def _plain_address(text: str) -> str:
    found = _PORT.match(text)
    address = (found["six"] or found["four"]) if found else text
    address = address.partition("%")[0]
    if address.lower().startswith("::ffff:") and "." in address:
        address = address[7:]
    return address if re.fullmatch(r"[0-9a-fA-F:.]+", address) else ""


_remembered = lru_cache(maxsize=20_000)(_plain_address)
