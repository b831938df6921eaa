"""A worker: what every long-running process does the same way: its log, its stop signal, its loop, its health answer.

A worker is one `step() -> bool`; the loop calls it until SIGTERM or SIGINT, and idles when nothing was to be done.
"""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from ipaddress import ip_address
from typing import NoReturn

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Gauge, disable_created_metrics, generate_latest

from oceanus import logs
from oceanus.errors import MisconfiguredError
from oceanus.settings import LogSettings, Network

WORDS = "text/plain; charset=utf-8"
BUILD = Gauge(
    "oceanus_build_info",
    "1 while this process runs, with its release.",
    ["process", "version"],
    multiprocess_mode="livemax",
)


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


def begin(process: str, log_settings: LogSettings) -> None:
    """Start the log, and let /metrics say what runs; the first thing that a process does with its settings."""
    logs.start(process, log_settings)
    disable_created_metrics()  # as many numbers again, which nobody asks for
    BUILD.labels(process, metadata.version("oceanus")).set(1)


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
                self._answer(200, generate_latest(REGISTRY), CONTENT_TYPE_LATEST)
            elif self.path == "/hc":
                self._answer(200 if alive() else 503, b"ok\n" if alive() else b"not alive\n")
            else:
                self._answer(404, b"here are /hc and /metrics\n")

        def _answer(self, status: int, body: bytes, kind: str = WORDS) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
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
