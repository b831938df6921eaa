"""The server: gunicorn's ASGI worker, with so many connections and so much time for each (arms.patience).

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
from arms.connection import TURNS, Connection, is_idle
from arms.patience import Patience
from oceanus import logs, settings
from oceanus.settings import LogSettings

LOOK_SECONDS = 0.1
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
OWN_FILES = 100  # what a worker opens beside its connections: Redis, journal, modules


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
