"""A place on the internet for tests: an HTTP server on loopback that answers from a script, well or badly.

    with Place(Reply(status=429, headers={"Retry-After": "7"}), Reply(body=b"ok")) as place:
        client = Client(place.url)                  # http://127.0.0.1:PORT
        ...
    assert place.asked[0].path == "/v1/things"      # every request, also those that got no answer

Replies are given in their order, the last one again and again. Instead of replies there may be one function from Asked
to Reply. A Reply's `how` says what goes wrong:

    whole       nothing
    cut_before  the connection ends before the answer
    cut_middle  it ends in the middle of the body, which needs one
    slow        the answer begins after `seconds`
    drip        it comes byte by byte, `seconds` between two
    never       it does not come while the place is there
    endless     the body does not end
    raw         `body` is all that is sent: no status line, no headers

With `context` (a server's ssl.SSLContext, see `certificate`) the place speaks TLS. `closed_port` and `silent_port` are
places that refuse, or accept and say nothing.
"""

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

How = Literal["whole", "cut_before", "cut_middle", "slow", "drip", "never", "endless", "raw"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it came; the names of headers in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, and how it is given."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    how: How = "whole"
    seconds: float = 0.0


class Place:
    """A server that answers from a script; a context manager. `asked` are the requests in their order."""

    def __init__(self, *script: Reply | Callable[[Asked], Reply], context: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.over = threading.Event()
        self._script = list(script) or [Reply()]
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.place = self
        if context:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port: int = self._server.server_address[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        # Joined on leaving: it looks for the end that often.
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reply_to(self, asked: Asked) -> Reply:
        """Note a request and return what the script says to it."""
        with self._lock:
            self.asked.append(asked)
            said = self._script[0] if len(self._script) == 1 else self._script.pop(0)
        return said(asked) if callable(said) else said


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    place: Place

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def answer(self) -> None:
        self.close_connection = True
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(method=self.command, path=self.path, headers=headers, body=self.rfile.read(length))
        reply = self.server.place.reply_to(asked)
        with suppress(OSError):
            getattr(self, f"_{reply.how}")(reply)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - http.server's names

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def _wait(self, seconds: float) -> bool:
        """Wait, and tell whether the test is over."""
        return self.server.place.over.wait(seconds)

    def _head(self, reply: Reply, length: int | None) -> bytes:
        lines = [f"HTTP/1.1 {reply.status} Because", *(f"{name}: {value}" for name, value in reply.headers.items())]
        lines += [] if length is None else [f"Content-Length: {length}"]
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")

    def _whole(self, reply: Reply) -> None:
        self.wfile.write(self._head(reply, len(reply.body)) + reply.body)

    def _cut_before(self, reply: Reply) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)

    def _cut_middle(self, reply: Reply) -> None:
        self.wfile.write(self._head(reply, len(reply.body)) + reply.body[: len(reply.body) // 2])

    def _slow(self, reply: Reply) -> None:
        self._wait(reply.seconds)
        self._whole(reply)

    def _drip(self, reply: Reply) -> None:
        for byte in self._head(reply, len(reply.body)) + reply.body:
            self.wfile.write(bytes([byte]))
            if self._wait(reply.seconds):
                return

    def _never(self, reply: Reply) -> None:
        self.server.place.over.wait()

    def _endless(self, reply: Reply) -> None:
        self.wfile.write(self._head(reply, None))
        while not self.server.place.over.is_set():
            self.wfile.write(reply.body or b"x" * 65_536)

    def _raw(self, reply: Reply) -> None:
        self.wfile.write(reply.body)


def closed_port() -> int:
    """Return a port of loopback at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def silent_port() -> Iterator[int]:
    """Yield a port of loopback that accepts connections and never says a word."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        yield int(silent.getsockname()[1])


def certificate(folder: Path, name: str, *, days: int = 1) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a certificate for a host's name or address, itself its authority; return a server's context and a client's.

    `days`: until it expires; negative: it has.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - datetime.timedelta(days=30))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([_general(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    own = folder / f"{len(list(folder.iterdir()))}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    own.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(own)
    return server, ssl.create_default_context(cafile=str(own))


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
