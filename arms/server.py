"""The server: gunicorn's ASGI worker, which at SIGTERM closes the connections that wait for nothing.

Browsers open connections before they need them. gunicorn would wait for each until its grace time is over, so that one
silent visitor made every stop last 25 seconds. gunicorn reads this module as its configuration (-c python:arms.server).
"""

import asyncio
import shutil
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


class Loop(uvloop.Loop):
    """An event loop that remembers the connections its servers have accepted."""

    def __init__(self) -> None:
        super().__init__()
        self.connections: WeakSet[ASGIProtocol] = WeakSet()

    async def create_server(  # type: ignore[override] # the overloads of the one call that gunicorn makes
        self, factory: Callable[[], ASGIProtocol], *args: Any, **options: Any
    ) -> Any:
        """Start a server whose connections are remembered."""

        def remembered() -> ASGIProtocol:
            connection = factory()
            self.connections.add(connection)
            return connection

        return await super().create_server(remembered, *args, **options)


class Worker(ASGIWorker):  # type: ignore[misc] # gunicorn publishes no types
    """gunicorn's ASGI worker on such a loop."""

    def _setup_event_loop(self) -> None:
        self.loop = Loop()
        asyncio.set_event_loop(self.loop)

    async def _shutdown(self) -> None:
        closing = asyncio.ensure_future(self._close_idle())
        try:
            await super()._shutdown()
        finally:
            closing.cancel()

    async def _close_idle(self) -> None:
        """Close connections without a request, again and again, as those with one become idle."""
        while True:
            for connection in list(self.loop.connections):
                if is_idle(connection):
                    connection.transport.close()
            await asyncio.sleep(LOOK_SECONDS)


def is_idle(connection: ASGIProtocol) -> bool:
    """Say whether no request is being read or answered on this connection.

    `_current_request` is set from the end of a request's headers to the end of its answer (gunicorn 26.2.0; a test
    with an open, silent socket holds it).
    """
    return connection.transport is not None and connection._current_request is None


# --- what gunicorn calls


def child_exit(_server: object, worker: Any) -> None:
    """Forget the gauges of a worker that is no more."""
    if settings.multiprocess_folder():
        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(_server: object) -> None:
    """Remove the folder in which the workers shared their metrics."""
    folder = settings.multiprocess_folder()
    if folder and Path(folder).name.startswith("oceanus-metrics-"):
        shutil.rmtree(folder, ignore_errors=True)
