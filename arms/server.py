"""The server: gunicorn's ASGI worker with bounds for whoever sends slowly, endlessly, or nothing at all.

gunicorn 26.2.0 bounds a request line and a header once they are whole, and nothing else: no time, no head or body that
never ends, no number of connections. Here each connection has its time and its room (arms.patience).

Browsers open connections before they need them. gunicorn would wait for each until its grace time is over, so that one
silent visitor made every stop last 25 seconds. gunicorn reads this module as its configuration (-c python:arms.server).
"""

import asyncio
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any
from weakref import WeakSet

import uvloop
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.workers.gasgi import ASGIWorker
from prometheus_client import multiprocess

from arms import metrics
from arms.arrival import BATCH_BYTES
from arms.patience import Patience
from oceanus import logs, settings
from oceanus.settings import LogSettings

LOOK_SECONDS = 0.1
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
HEAD_BYTES = 128 * 1024  # twice the longest request line that is taken
OWN_FILES = 100  # what a worker opens beside its connections: Redis, journal, modules
RESTS, READS, ANSWERS = "rests", "reads", "answers"
# In seconds. A load balancer closes its end before we close ours, or its next request is cut: Google's keeps it 600 s
# (cloud.google.com/load-balancing/docs/https#timeouts_and_retries). Beside that: a beacon on the worst line takes a
# few seconds, and the longest answer, of /gaze, four.
TURNS = {RESTS: 620.0, READS: 30.0, ANSWERS: 30.0}


class Connection(ASGIProtocol):  # type: ignore[misc] # gunicorn publishes no types
    """A connection that takes no more bytes and no more time than a beacon needs.

    It answers 400 to what its parser cannot read, instead of breaking off with a traceback. It speaks HTTP/1 alone.
    """

    _head_bytes = 0  # of a head that is not complete
    _body_bytes = 0
    _rests = False
    _is_pipelined = False
    # gunicorn's own
    _body_receiver: Any
    _callback_parser: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request, and make room where there are too many."""
        super().connection_made(transport)
        self._begins(READS)
        self.worker.loop.make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Free this connection's place; a body that came whole is read, though its page has gone.

        gunicorn would keep the task of a connection that rested for 3 s more; and the parser in C, which knows the
        connection that knows it, is none that Python's collector sees: each connection would stay in memory for good.
        """
        self.worker.loop.patience.ends(self)
        if self._body_receiver is not None and self._body_receiver._complete:
            self._body_receiver = None
        super().connection_lost(exc)
        self._callback_parser = None
        if self._request_ready is not None:
            self._request_ready.set()

    def data_received(self, data: bytes) -> None:
        """Read on; answer 431 to a head that does not end."""
        if self._rests:
            self._rests = False
            self._begins(READS)
        if self._current_request is None:
            self._head_bytes += len(data)
        super().data_received(data)
        parser = self._callback_parser
        if parser is not None and parser.is_complete and parser.remaining():
            self._is_pipelined = True
        if self._current_request is None and self._head_bytes > HEAD_BYTES and not self._closed:
            self._send_error_response(431, "Request Header Fields Too Large")
            self._close_transport()

    def _on_headers_complete(self) -> bool:
        self._head_bytes = self._body_bytes = 0
        return bool(super()._on_headers_complete())

    def _on_body(self, chunk: bytes) -> None:
        """Keep no more of a body than any route takes; after its answer, such a connection is closed by gunicorn."""
        if self._body_bytes <= BATCH_BYTES:
            super()._on_body(chunk)
        self._body_bytes += len(chunk)
        if self._body_bytes > BATCH_BYTES:
            self._pause_reading()

    def _on_message_complete(self) -> None:
        super()._on_message_complete()
        self._begins(ANSWERS)

    def _arm_keepalive_timer(self) -> None:
        """Wait for the next request (gunicorn 26.2.0 takes its own timer back at once, so that it never rings).

        gunicorn forgets requests that were sent before this answer: closing tells the client that they have none.
        """
        if self._is_pipelined:
            self._close_transport()
            return
        self._rests = True
        self._begins(RESTS)

    def _begins(self, turn: str) -> None:
        if not self._conn_lost_handled:  # or it would be remembered after it has gone
            self.worker.loop.begins(self, turn)

    def _is_websocket_upgrade(self, _request: object) -> bool:
        return False

    def _handle_h1c_exception(self, exc: Exception) -> bool:
        if super()._handle_h1c_exception(exc):
            return True
        if not isinstance(exc, ValueError) and not type(exc).__module__.startswith("gunicorn"):
            return False
        self._send_error_response(400, "Bad Request")
        self._close_transport()
        return True


class Loop(uvloop.Loop):
    """An event loop that remembers the connections its servers have accepted."""

    def __init__(self, worker: ASGIWorker) -> None:
        super().__init__()
        self._worker = worker
        self.connections: WeakSet[Connection] = WeakSet()
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.patience: Patience[Connection] = Patience(
            TURNS, min(worker.cfg.worker_connections, max(1, files - OWN_FILES))
        )

    def begins(self, connection: Connection, turn: str) -> None:
        """Note what a connection does from now on."""
        self.patience.begins(connection, turn, monotonic())

    def make_room(self) -> None:
        """Close the connection that has waited longest, where one more than may be has come."""
        surplus = self.patience.surplus()
        if surplus is not None:
            self.patience.ends(surplus)
            metrics.CLOSED.labels("room").inc()
            surplus.transport.abort()

    async def close_overdue(self) -> None:
        """Close whoever takes too long, once a second."""
        while True:
            for connection in self.patience.overdue(monotonic()):
                self.patience.ends(connection)
                metrics.CLOSED.labels("time").inc()
                connection.transport.abort()
            await asyncio.sleep(1)

    async def create_server(  # type: ignore[override] # the overloads of the one call that gunicorn makes
        self, _factory: Callable[[], ASGIProtocol], *args: Any, **options: Any
    ) -> Any:
        """Start a server whose connections are ours, and remembered."""

        def remembered() -> Connection:
            connection = Connection(self._worker)
            self.connections.add(connection)
            return connection

        # uvloop's own 100 would also cut short the line of those who wait while arms is started anew.
        return await super().create_server(remembered, *args, backlog=self._worker.cfg.backlog, **options)


class Worker(ASGIWorker):  # type: ignore[misc] # gunicorn publishes no types
    """gunicorn's ASGI worker on such a loop."""

    def _setup_event_loop(self) -> None:
        # gunicorn looks for its parser in C on the class that asks, and for the answer on ASGIProtocol: a subclass that
        # asks first is given the one in Python, which is slower and less strict.
        ASGIProtocol._check_h1c_protocol_available()
        self.loop = Loop(self)
        asyncio.set_event_loop(self.loop)

    async def _serve(self) -> None:
        """Serve, and listen to signals from now on; one that came since the fork is heard now.

        Not earlier: uvloop forgets a signal that comes after its handler is set and before the loop runs.
        """
        _release_signals()
        looking = asyncio.ensure_future(self.loop.close_overdue())
        try:
            await super()._serve()
        finally:
            looking.cancel()

    async def _shutdown(self) -> None:
        closing = asyncio.ensure_future(self._close_idle())
        try:
            await super()._shutdown()
        finally:
            closing.cancel()

    async def _close_idle(self) -> None:
        """Close connections without a request, again and again, as those with one become idle.

        One that has just come is about to send its request: only who is idle at a second look waits for nothing.
        """
        looked: set[Connection] = set()
        while True:
            idle = {connection for connection in list(self.loop.connections) if is_idle(connection)}
            for connection in idle & looked:
                connection.transport.close()
            looked = idle
            await asyncio.sleep(LOOK_SECONDS)


class Logger(GunicornLogger):  # type: ignore[misc] # gunicorn publishes no types
    """gunicorn's log in the form of ours, from its first line on."""

    def setup(self, cfg: Any) -> None:
        """Set the log up, in gunicorn's master."""
        super().setup(cfg)
        logs.start("arms", settings.read(LogSettings))


def is_idle(connection: ASGIProtocol) -> bool:
    """Say whether no request is being read or answered on this connection.

    `_current_request` is set from the end of a request's headers to the end of its answer (gunicorn 26.2.0; a test
    with an open, silent socket holds it).
    """
    return connection.transport is not None and connection._current_request is None


# --- what gunicorn calls


def on_starting(_server: object) -> None:
    """Hold SIGTERM back around each fork: a worker that cannot hear it yet would lose it, and stop only when killed."""
    os.register_at_fork(before=_hold_signals, after_in_parent=_release_signals)


def _hold_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


def _release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def pre_request(_worker: object, _request: object) -> None:
    """Say nothing: gunicorn would write a client's path, decoded, into the log at DEBUG."""


def child_exit(_server: object, worker: Any) -> None:
    """Forget the gauges of a worker that is no more."""
    if settings.multiprocess_folder():
        multiprocess.mark_process_dead(worker.pid)


def on_exit(_server: object) -> None:
    """Remove the folder in which the workers shared their metrics."""
    folder = settings.multiprocess_folder()
    if folder and Path(folder).name.startswith("oceanus-metrics-"):
        shutil.rmtree(folder, ignore_errors=True)
