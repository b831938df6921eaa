"""A connection, without a network: what gunicorn's own leaves behind is not left behind."""

import gc
import weakref
from typing import Any

from arms.connection import ENDS, TURNS
from tests.arms.talking import Loop, connected, turn


async def answer(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def test_a_connection_that_is_lost_is_forgotten_at_once_whatever_it_did() -> None:
    loop = Loop()
    whole, cut = b"GET /hc HTTP/1.1\r\nHost: a\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab"
    requests = (b"", b"GET /hc HT", whole, cut)
    gone = []

    for sent in requests:
        connection, _ = connected(loop, answer)
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


def test_who_is_refused_has_the_time_to_end_whatever_came_before() -> None:
    loop = Loop()
    connection, transport = connected(loop, answer)
    transport.ends = True
    turn(loop)
    connection.data_received(b"GET /hc HTTP/1.1\r\nHost: a\r\n\r\n")
    turn(loop)  # and rests

    connection.data_received(b"nonsense\r\n\r\n")
    refused, more = transport.written, b"GET /hc HTTP/1.1\r\nHost: a\r\n\r\n"
    connection.data_received(more)
    turn(loop)

    assert b"HTTP/1.1 400" in refused
    assert transport.written == refused
    assert loop.patience.overdue(TURNS[ENDS]) == []
    assert loop.patience.overdue(TURNS[ENDS] + 1) == [connection]
    connection.connection_lost(None)
    assert len(loop.patience) == 0
    loop.close()
