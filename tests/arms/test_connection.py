"""A connection, without a network: what gunicorn's own leaves behind is not left behind."""

import asyncio
import gc
import weakref
from types import SimpleNamespace
from typing import Any

from gunicorn.config import Config

from arms.patience import Patience
from arms.server import TURNS, Connection


class Transport(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Have none."""

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        """Do nothing: nobody is there."""


class Loop(asyncio.SelectorEventLoop):
    """A loop that keeps connections as arms' own does."""

    def __init__(self) -> None:
        super().__init__()
        self.patience: Patience[Connection] = Patience(TURNS, 10)

    def begins(self, connection: Connection, turn: str) -> None:
        self.patience.begins(connection, turn, 0.0)

    def make_room(self) -> None:
        """Have room."""


async def answer(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def connected(loop: Loop) -> tuple[Connection, Transport]:
    """Return an open connection of a worker that answers everything."""
    log = SimpleNamespace(access_log_enabled=False)
    config = Config()
    config.set("asgi_disconnect_grace_period", 0)
    worker = SimpleNamespace(
        cfg=config, log=log, asgi=answer, loop=loop, nr_conns=0, nr=0, max_requests=10**9, alive=True
    )
    Connection.__base__._check_h1c_protocol_available()  # as the worker does
    connection, transport = Connection(worker), Transport()
    connection.connection_made(transport)
    assert type(connection._callback_parser).__module__ != "gunicorn.asgi.parser"
    return connection, transport


def turn(loop: Loop) -> None:
    """Let everything happen that can."""
    loop.run_until_complete(asyncio.sleep(0.01))


def test_a_connection_that_is_lost_is_forgotten_at_once_whatever_it_did() -> None:
    loop = Loop()
    whole, cut = b"GET /hc HTTP/1.1\r\nHost: a\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab"
    requests = (b"", b"GET /hc HT", whole, cut)
    gone = []

    for sent in requests:
        connection, _ = connected(loop)
        turn(loop)
        connection.data_received(sent)
        turn(loop)
        connection.connection_lost(None)
        gone.append(weakref.ref(connection))
        del connection
        turn(loop)
    gc.collect()

    assert len(loop.patience) == 0
    assert [one() for one in gone] == [None] * len(requests)
    loop.close()
