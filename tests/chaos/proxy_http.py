"""The fault proxy before the local BigQuery's REST API (HTTP)."""

import http.client
import json
import random
import socket
import struct
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.chaos.trouble import Deed, Trouble

UPSTREAM_SECONDS = 300
UPSTREAM_CALLS = 3
HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}
ERRORS = {
    Deed.ERROR_500: (500, "backendError", "An internal error occurred"),
    Deed.ERROR_503: (503, "backendError", "The service is currently unavailable"),
    Deed.QUOTA: (403, "rateLimitExceeded", "Exceeded rate limits"),
}


@dataclass(frozen=True)
class Answer:
    """What came back, or what is said instead."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class HttpProxy:
    """Stands before one local BigQuery. `trouble` says what happens to the next request."""

    def __init__(self, target: int, rng: random.Random) -> None:
        self._target = target
        self._random = rng
        self._lanes = threading.Semaphore(UPSTREAM_CALLS)
        self._over = threading.Event()
        self.trouble = Trouble(rng)

    def start(self) -> "HttpProxy":
        """Listen on a free port, in threads of its own."""
        proxy = self

        class Handler(_Handler):
            def answer(self) -> None:
                proxy.meet(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="http proxy", daemon=True).start()
        return self

    def stop(self) -> None:
        """Listen no more."""
        self.end()
        self._server.shutdown()
        self._server.server_close()

    def begin(self, deed: Deed, chance: float = 1.0) -> None:
        """Do `deed` to each request with this chance, from now on."""
        self._over.clear()
        self.trouble.begin(deed, chance)

    def end(self) -> None:
        """Let all requests pass again; those that hang go on now."""
        self.trouble.end()
        self._over.set()

    def meet(self, handler: "_Handler") -> None:
        """Answer one request as the trouble says."""
        deed = self.trouble.meet()
        if deed is Deed.REFUSE:
            return handler.cut()
        body = handler.body()
        if deed is Deed.CUT_BEFORE:
            return handler.cut()
        if deed in ERRORS:
            return handler.send(_error(*ERRORS[deed]))
        if deed is Deed.HANG:
            self._over.wait()
        answer = self._upstream(handler, body)
        return handler.cut() if deed is Deed.CUT_AFTER else handler.send(answer)

    def _upstream(self, handler: "_Handler", body: bytes) -> Answer:
        """Send a request on and return the whole of its answer."""
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in HOP}
        with self._lanes:
            connection = http.client.HTTPConnection("127.0.0.1", self._target, timeout=UPSTREAM_SECONDS)
            try:
                connection.request(handler.command, handler.path, body or None, headers)
                response = connection.getresponse()
                kept = [(name, value) for name, value in response.getheaders() if name.lower() not in HOP]
                return Answer(response.status, kept, response.read())
            except OSError:
                return _error(503, "backendError", "the local BigQuery does not answer")
            finally:
                connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def answer(self) -> None:
        raise NotImplementedError

    def do_GET(self) -> None:
        self.answer()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - as the library calls them

    def body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def send(self, answer: Answer) -> None:
        try:
            self.send_response_only(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)
        except OSError:  # whoever asked has gone
            self.close_connection = True

    def cut(self) -> None:
        """Break the connection with a reset, so that nobody takes it for an answer."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        chunk = self.rfile.read(size)
        self.rfile.readline()
        return chunk


def _error(status: int, reason: str, message: str) -> Answer:
    told = {"error": {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}}
    return Answer(status, [("Content-Type", "application/json")], json.dumps(told).encode())
