"""The server: gunicorn's ASGI worker, which at SIGTERM closes the connections that wait for nothing.

Browsers open connections before they need them. gunicorn would wait for each until its grace time is over, so that one
silent visitor made every stop last 25 seconds. gunicorn reads this module as its configuration (-c python:arms.server).
"""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakSet

import uvloop
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers.gasgi import ASGIWorker
from prometheus_client import multiprocess

from oceanus import settings

LOOK_SECONDS = 0.1
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Connection(ASGIProtocol):  # type: ignore[misc] # gunicorn publishes no types
    """A connection that answers 400 to what its parser cannot read, instead of breaking off with a traceback."""

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
        self.loop = Loop(self)
        asyncio.set_event_loop(self.loop)

    async def _serve(self) -> None:
        """Listen to signals from now on; one that came since the fork is heard now.

        Not earlier: uvloop forgets a signal that comes after its handler is set and before the loop runs.
        """
        _release_signals()
        await super()._serve()

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


def child_exit(_server: object, worker: Any) -> None:
    """Forget the gauges of a worker that is no more."""
    if settings.multiprocess_folder():
        multiprocess.mark_process_dead(worker.pid)


def on_exit(_server: object) -> None:
    """Remove the folder in which the workers shared their metrics."""
    folder = settings.multiprocess_folder()
    if folder and Path(folder).name.startswith("oceanus-metrics-"):
        shutil.rmtree(folder, ignore_errors=True)
