"""A worker: what every long-running process does the same way: its log, its stop signal, its loop, its health answer.

A worker is one `step() -> bool`; the loop calls it until SIGTERM or SIGINT, and idles when nothing was to be done.
"""

import json
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import NoReturn

from prometheus_client import REGISTRY, generate_latest

from oceanus.errors import MisconfiguredError
from oceanus.settings import LogSettings, Network, ignored
from oceanus.visible import escaped

log = logging.getLogger(__name__)


class Stop:
    """Set once, by SIGTERM or SIGINT: take no more work."""

    def __init__(self) -> None:
        self._is_set = False
        # A pipe, because a signal handler may interrupt the very wait whose lock threading.Event.set() would need.
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def listen(self) -> "Stop":
        """Set it when the process is told to stop; main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.set())
        return self

    def set(self) -> None:
        """Say that it is time to stop."""
        self._is_set = True
        with suppress(BlockingIOError):  # so many that the pipe is full: it is known by now
            os.write(self._writer, b"!")

    def wait(self, seconds: float) -> bool:
        """Sleep up to `seconds`; return whether it is time to stop."""
        select.select([self._reader], [], [], seconds)
        return self._is_set

    def __bool__(self) -> bool:
        return self._is_set


def loop(step: Callable[[], bool], stop: Stop, idle_seconds: float) -> None:
    """Call `step` until `stop`; where it finds nothing to do, wait `idle_seconds`."""
    while not stop:
        if not step():
            stop.wait(idle_seconds)


def start_log(settings: LogSettings) -> None:
    """Send the diagnostic log to stderr in the format asked for, and name variables that mean nothing any more."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if settings.format == "json" else _Text())
    logging.basicConfig(level=settings.level, handlers=[handler], force=True)
    names = ignored()
    if names:
        log.warning("set, but without meaning any more: %s", ", ".join(names))


def refuse_to_start(process: str, error: MisconfiguredError) -> NoReturn:
    """Print each mistake as one line on stderr and exit with 1."""
    for mistake in error.mistakes:
        print(f"{process}: {mistake}", file=sys.stderr)
    sys.exit(1)


def is_internal(address: str, internal: tuple[Network, ...]) -> bool:
    """Say whether `address` is loopback or in one of the networks; an address that is none is not."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return parsed.is_loopback or any(parsed in network for network in internal)


def serve_health(port: int, internal: tuple[Network, ...], alive: Callable[[], bool]) -> ThreadingHTTPServer:
    """Answer /hc (200 while `alive()`, else 503) and /metrics in the background, to internal addresses only."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds: whoever sends nothing holds a thread

        def do_GET(self) -> None:
            if not is_internal(self.client_address[0], internal):
                self._answer(403, b"internal addresses only\n")
            elif self.path == "/metrics":
                self._answer(200, generate_latest(REGISTRY))
            elif self.path == "/hc":
                self._answer(200 if alive() else 503, b"ok\n" if alive() else b"not alive\n")
            else:
                self._answer(404, b"here are /hc and /metrics\n")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: a probe a second is no news."""

    try:
        server = ThreadingHTTPServer(("", port), Handler)
    except OSError as exc:
        raise MisconfiguredError([f"PORT={port}: cannot listen there: {exc.strerror}; choose a free port"]) from exc
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


class _Text(logging.Formatter):
    """A line for people; only a traceback has more."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        record.message = escaped(record.message)
        return super().formatMessage(record)


class _Json(logging.Formatter):
    """One JSON object a line, with the names that Cloud Logging reads."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "severity": record.levelname,
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "message": self._message(record),
            "logging.googleapis.com/labels": {"logger": record.name, "pid": str(record.process)},
        }
        return json.dumps(line, ensure_ascii=False)

    def _message(self, record: logging.LogRecord) -> str:
        told = escaped(record.getMessage())
        return f"{told}\n{self.formatException(record.exc_info)}" if record.exc_info else told
