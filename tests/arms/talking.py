"""Talking to a connection of arms without a network: bytes in, bytes out, all of it gunicorn's but the socket."""

import asyncio
import logging
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from gunicorn.config import Config

from arms.connection import TURNS, Connection
from arms.patience import Patience


class Transport(asyncio.Transport):
    """A transport that keeps what is written. `ends`: its two sides may be closed one by one, as a socket's."""

    ends = False

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 4000) if name in ("peername", "sockname") else default

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Have none."""

    def can_write_eof(self) -> bool:
        return self.ends

    def write_eof(self) -> None:
        """Have nothing behind it."""

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


class Loop(asyncio.SelectorEventLoop):
    """A loop that keeps connections as arms' own does."""

    def __init__(self) -> None:
        super().__init__()
        self.patience: Patience[Connection] = Patience(TURNS, 10)

    def begins(self, connection: Connection, turn: str) -> None:
        self.patience.begins(connection, turn, 0.0)

    def make_room(self) -> None:
        """Have room."""


def connected(loop: Loop, app: Any) -> tuple[Connection, Transport]:
    """Return an open connection of a worker of an application."""
    config = Config()
    config.set("asgi_disconnect_grace_period", 0)
    worker = SimpleNamespace(
        cfg=config, log=Log(), asgi=app, loop=loop, nr_conns=0, nr=0, max_requests=10**9, alive=True
    )
    Connection.__base__._check_h1c_protocol_available()  # as the worker does
    connection, transport = Connection(worker), Transport()
    connection.connection_made(transport)
    assert type(connection._callback_parser).__module__ != "gunicorn.asgi.parser"
    return connection, transport


class Log(logging.LoggerAdapter[logging.Logger]):
    """A log as gunicorn's connections want it."""

    access_log_enabled = False

    def __init__(self) -> None:
        super().__init__(logging.getLogger("gunicorn"))


def turn(loop: Loop) -> None:
    """Let everything happen that can."""
    loop.run_until_complete(asyncio.sleep(0.01))


def talk(app: Any, pieces: Iterable[bytes], *, wait: bool = True) -> tuple[bytes, bool]:
    """Send pieces over one connection; return what is answered, without Date, and whether it is closed then.

    `wait`: what a piece asks for is answered before the next is sent.
    """
    loop = Loop()
    connection, transport = connected(loop, app)
    turn(loop)
    for piece in pieces:
        if not transport.is_closed:
            loop.call_soon(connection.data_received, piece)
        if wait:
            turn(loop)
    turn(loop)
    is_closed = transport.is_closed
    connection.connection_lost(None)
    turn(loop)
    loop.close()
    lines = transport.written.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.startswith(b"Date: ")), is_closed
