"""A web hook as a destination: the body as JSON, signed, to a public host and nowhere else.

It tells no more than its status: a body that comes back may repeat the address, which may hold a secret.
"""

import hashlib
import hmac
import json
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from oceanus.errors import RefusedError
from revelation.calls import Caller, checked, host_of, trouble
from revelation.dialling import Deadline, Dialler, Resolve, addresses
from revelation.telling import Message


class Webhook:
    """Posts `message.body`; told when the place answered 2xx.

    `hosts`: those that may be asked, `.example.com` with all below it; empty: any. `allow_private`: also addresses
    within one's own network. Raises ValueError for an address that is none, or whose host is not among `hosts`.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str = "",
        hosts: frozenset[str] = frozenset(),
        allow_private: bool = False,
        seconds: float = 10,
        context: ssl.SSLContext | None = None,
        resolve: Resolve = addresses,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = checked(url)
        if hosts and not may_ask(host_of(self._url), hosts):
            raise ValueError(f"{host_of(self._url)} is not among the hosts that may be asked")
        self._secret = secret
        self._seconds = seconds
        self._clock = clock
        # The status is all that counts, so nothing of a body is read.
        self._caller = Caller(Dialler(allow_private=allow_private, resolve=resolve), context=context, most_bytes=0)

    def tell(self, message: Message) -> None:
        """Post the body; raises TryAgainError or RefusedError."""
        body = encoded(message.body)
        headers = self._headers(message.key, body)
        answer = self._caller.post(self._url, headers, body, Deadline(self._seconds))
        if error := trouble(host_of(self._url), answer):
            raise error

    def _headers(self, key: str, body: bytes) -> dict[str, str]:
        timestamp = str(int(self._clock()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "oceanus",
            "Idempotency-Key": quote(key, safe="!#$&'*+,/:;=?@^`|~", errors="replace"),
            "X-Oceanus-Timestamp": timestamp,
        }
        if self._secret:
            headers["X-Oceanus-Signature"] = signature(self._secret, timestamp, body)
        return headers


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return `v1=` and the HMAC-SHA256 of the timestamp, a full stop and the body, in hexadecimal digits."""
    return "v1=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def may_ask(host: str, hosts: frozenset[str]) -> bool:
    """Tell whether `hosts` names a host, or a domain (`.example.com`) that is it or that it lies in."""
    name = "." + host.lower().rstrip(".")
    return any(name == f".{known}" or (known[:1] == "." and name.endswith(known)) for known in map(str.lower, hosts))


def encoded(body: Mapping[str, Any]) -> bytes:
    """Return a body as JSON in UTF-8, `?` for half surrogate pairs; raises RefusedError for what JSON cannot hold."""
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as exc:
        raise RefusedError(f"the body cannot be written as JSON: {type(exc).__name__}") from exc
    return text.encode("utf-8", "replace")
