"""One POST by HTTP, with a time limit for the whole of it, to the address that was judged.

httpcore alone, the layer below httpx: it follows no redirect, keeps no cookie, unpacks no body and knows no proxy.
Whatever the other side answers, sends or does becomes an Answer, a TryAgainError or a RefusedError.
"""

import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpcore

from oceanus.errors import RefusedError, TellError, TryAgainError
from revelation.dialling import Deadline, Dialler

AGAIN = frozenset({408, 425, 429})
GATEWAYS = frozenset({502, 504})  # a gateway's answer: it does not say what the server behind it did
LONGEST_WAIT = 86_400.0
_TROUBLES = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.RemoteProtocolError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back: names of headers in lower case; `whole` is False where the body was cut short."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool


class Caller:
    """Posts to one place at a time; may be used by several threads."""

    def __init__(self, dialler: Dialler, *, context: ssl.SSLContext | None = None, most_bytes: int = 65_536) -> None:
        self._dialler = dialler
        self._context = context or ssl.create_default_context()
        self._most_bytes = most_bytes

    def post(self, url: str, headers: Mapping[str, str], body: bytes, deadline: Deadline) -> Answer:
        """Return the answer, its body up to `most_bytes`; raises TryAgainError where none came, or RefusedError."""
        line = _Line(self._dialler, deadline)
        try:
            return self._ask(line, url, headers, body)
        except httpcore.TimeoutException as exc:
            raise TryAgainError(f"{host_of(url)} did not answer in time", unclear=line.sent) from exc
        except httpcore.NetworkError as exc:
            raise TryAgainError(f"{host_of(url)} cannot be talked to: {exc}", unclear=line.sent) from exc
        except httpcore.RemoteProtocolError as exc:
            raise TryAgainError(f"{host_of(url)} ended, or speaks no HTTP", unclear=line.sent) from exc

    def _ask(self, line: "_Line", url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        sent = [("Accept-Encoding", "identity"), ("Connection", "close"), *headers.items()]
        with (
            httpcore.ConnectionPool(ssl_context=self._context, network_backend=line) as pool,
            pool.stream("POST", url, headers=sent, content=body) as response,
        ):
            got, whole = _read(response.iter_stream(), self._most_bytes)
            known = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            return Answer(status=response.status, headers=known, body=got, whole=whole)


def checked(url: str) -> str:
    """Return an address of http or https with its host in ASCII.

    Raises ValueError, which does not repeat the address: it may be secret.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the address must begin with https:// and the name of a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the address must hold no user and no password")
    if not url.isprintable() or " " in url:
        raise ValueError("the address must hold no blanks and no control characters")
    return urlunsplit(
        (parts.scheme, _place(parts.hostname, parts.port), _ascii(parts.path) or "/", _ascii(parts.query), "")
    )


def host_of(url: str) -> str:
    """Return the host of a checked address."""
    return urlsplit(url).hostname or ""


def trouble(place: str, answer: Answer) -> TellError | None:
    """Return what an answer's status means for the message: None where it was taken."""
    if 200 <= answer.status < 300:
        return None
    reason = f"{place} answered {answer.status}"
    if answer.status in AGAIN or answer.status >= 500:
        wait = wait_seconds(answer.headers.get("retry-after", ""), time.time())
        return TryAgainError(reason, wait, unclear=answer.status in GATEWAYS)
    if 300 <= answer.status < 400:
        return RefusedError(f"{reason}: redirects are not followed")
    return RefusedError(reason)


def wait_seconds(text: str, now: float) -> float | None:
    """Read `Retry-After`, seconds or a date (RFC 9110 10.2.3), as seconds from `now`, a day at most."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return min(max(until - now, 0.0), LONGEST_WAIT)


def _place(host: str, port: int | None) -> str:
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as exc:
        raise ValueError("the address's host is no name") from exc
    if len(name) > 253 or any(len(label) > 63 for label in name.split(".")):
        raise ValueError("the address's host is too long for a name")
    name = f"[{name}]" if ":" in name else name
    return name if port is None else f"{name}:{port}"


def _ascii(text: str) -> str:
    if not text.isascii():
        raise ValueError("the address must be ASCII: write other characters as %XX")
    return text


def _read(chunks: Iterable[bytes], most: int) -> tuple[bytes, bool]:
    """Return up to `most` bytes of a body, and whether that was all of it."""
    got = bytearray()
    if most == 0:
        return b"", False
    try:
        for chunk in chunks:
            got += chunk
            if len(got) > most:
                return bytes(got[:most]), False
    except _TROUBLES:
        return bytes(got), False
    return bytes(got), True


def _word(exc: OSError) -> str:
    """Return what went wrong without what the other side sent."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"bad certificate, {exc.verify_message}"
    return exc.strerror or type(exc).__name__


class _Line(httpcore.NetworkBackend):
    """The one connection of a call; `sent` once a byte of the request may have left."""

    def __init__(self, dialler: Dialler, deadline: Deadline) -> None:
        self._dialler = dialler
        self.deadline = deadline
        self.sent = False

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # the deadline counts
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        with _translated(httpcore.ConnectTimeout, httpcore.ConnectError):
            return _Stream(self._dialler.dial(host, port, self.deadline), self)


class _Stream(httpcore.NetworkStream):
    """A socket of which each wait ends at the deadline."""

    def __init__(self, connection: socket.socket, line: _Line) -> None:
        self._socket = connection
        self._line = line

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _translated(httpcore.ReadTimeout, httpcore.ReadError):
            self._socket.settimeout(self._line.deadline.left())
            return self._socket.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._line.sent = True
        with _translated(httpcore.WriteTimeout, httpcore.WriteError):
            while buffer:
                self._socket.settimeout(self._line.deadline.left())
                buffer = buffer[self._socket.send(buffer) :]

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        try:
            with _translated(httpcore.ConnectTimeout, httpcore.ConnectError):
                self._socket.settimeout(self._line.deadline.left())
                return _Stream(ssl_context.wrap_socket(self._socket, server_hostname=server_hostname), self._line)
        except (httpcore.ConnectTimeout, httpcore.ConnectError):
            self._socket.close()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._socket if info == "socket" else None


@contextmanager
def _translated(late: type[Exception], broken: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as exc:
        raise late from exc
    except OSError as exc:
        raise broken(_word(exc)) from exc
