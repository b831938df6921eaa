"""The connection: gunicorn's, with bounds for whoever sends slowly, endlessly, or nothing at all, and the lane.

gunicorn 26.2.0 bounds a request line and a header once they are whole, and nothing else: no time, no head or body that
never ends, no number of connections. Here each connection has its time and its room (arms.patience).
"""

import asyncio
import logging
from functools import partial
from typing import Any

from gunicorn.asgi.protocol import _CACHED_SERVER_HEADER, ASGIProtocol, _get_cached_date_header

from arms.arrival import BATCH_BYTES, plain_address
from arms.intake import Accepted
from arms.lane import Answer, Lane, Way, limited, posted
from arms.limits import Limited

log = logging.getLogger(__name__)

HEAD_BYTES = 128 * 1024  # twice the longest request line that is taken
ENDS, RESTS, READS, ANSWERS = "ends", "rests", "reads", "answers"
# In seconds. A load balancer closes its end before we close ours, or its next request is cut: Google's keeps it 600 s
# (cloud.google.com/load-balancing/docs/https#timeouts_and_retries). Beside that: a beacon on the worst line takes a
# few seconds, and the longest answer, of /gaze, four. A client that is refused before it has sent all may go on sending
# for a moment (nginx' lingering_timeout).
TURNS = {ENDS: 5.0, RESTS: 620.0, READS: 30.0, ANSWERS: 30.0}


class Connection(ASGIProtocol):  # type: ignore[misc] # gunicorn publishes no types
    """A connection that takes no more bytes and no more time than a beacon needs.

    It answers 400 to what its parser cannot read, instead of breaking off with a traceback. It speaks HTTP/1 alone.

    A beacon that the lane takes is answered here. gunicorn's task for this connection, which serves all else, sleeps
    meanwhile: it is not told of such a request, and what it would do after its answer is done here (`_answered`).
    """

    _head_bytes = 0  # of a head that is not complete
    _body_bytes = 0
    _rests = False
    _ends = False
    _is_pipelined = False
    _lane: Lane | None = None
    _peer = ""
    _is_full = False
    _held: list[bytes] | None = None  # the body of a POST that may be plain
    _judged: tuple[Way, Accepted | Limited] | None = None  # while the parser reads on
    # gunicorn's own
    _closed: bool
    _body_receiver: Any
    _callback_parser: Any
    _current_request: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request, and make room where there are too many."""
        super().connection_made(transport)
        if not self.log.access_log_enabled:  # or gunicorn would have a line to write
            self._lane = getattr(self.app, "lane", None)
        host, *_ = transport.get_extra_info("peername") or ("",)
        self._peer = plain_address(host)
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
        if self._ends:
            return
        rested = self._rests
        self._rests = False
        if self._current_request is None:
            self._head_bytes += len(data)
        super().data_received(data)
        parser = self._callback_parser
        if rested and not self._ends and (parser is None or not parser.is_complete):
            self._begins(READS)
        if parser is not None and parser.is_complete and parser.remaining():
            self._is_pipelined = True
        judged = self._judged
        if judged is not None:
            self._judged = None
            self._take(*judged)
        if self._current_request is None and self._head_bytes > HEAD_BYTES and not self._closed:
            self._send_error_response(431, "Request Header Fields Too Large")
            self._close_transport()

    def _on_headers_complete(self) -> bool:
        self._head_bytes = self._body_bytes = 0
        if not self._goes_by_lane():
            return bool(super()._on_headers_complete())
        self._current_request = self._lane  # for `is_idle`
        return False

    def _goes_by_lane(self) -> bool:
        """Judge a GET, and wait for the body of a POST that may be plain."""
        parser = self._callback_parser
        if self._lane is None or parser.http_version != (1, 1) or not parser.should_keep_alive:
            return False
        if parser.method == b"GET" and not parser.content_length:
            self._judged = self._judge()
        elif parser.method == b"POST" and self._lane.may_hold(parser.path, parser.asgi_headers):
            self._held = []
        return self._judged is not None or self._held is not None

    def _judge(self, body: bytes | None = None) -> tuple[Way, Accepted | Limited] | None:
        assert self._lane is not None  # noqa: S101 - the callers have looked
        parser = self._callback_parser
        try:
            return self._lane.judge(parser.path, parser.asgi_headers, self._peer, body)
        except Exception:  # in a callback of the parser it would break the connection off
            log.exception("a beacon was not judged in the lane; the framework will")
            return None

    def _take(self, way: Way, outcome: Accepted | Limited) -> None:
        assert self._lane is not None  # noqa: S101 - it has judged
        self.worker.nr += 1
        if isinstance(outcome, Limited):
            self._write(limited(way, outcome))
            self._answered()
            return
        accepted = outcome if self._callback_parser.method == b"POST" else None
        self._lane.put(way, outcome, partial(self._told, way, accepted))

    def _told(self, way: Way, accepted: Accepted | None, refusal: str | None) -> None:
        """Answer a beacon that is on disk, or is not; `accepted` is one that came in a POST."""
        if refusal:
            self._write(way.unavailable)
        else:
            self._write(way.gif if accepted is None else posted(way, accepted))
        self._answered()

    def resume_writing(self) -> None:
        """Go on where the client had not read our answers."""
        super().resume_writing()
        if self._is_full:
            self._answered()

    def _write(self, answer: Answer) -> None:
        if not self._closed:
            head = answer.head + _CACHED_SERVER_HEADER + _get_cached_date_header()
            self._safe_write(head + b"\r\n" + answer.body)

    def _answered(self) -> None:
        """Make ready for the next request, as gunicorn's task does after an answer (`_handle_connection`)."""
        if self._closed:  # its client has gone; the beacon stays
            return
        self._is_full = self._flow_control.write_paused
        if self._is_full:  # its client does not read: one more answer waits, and no more than ANSWERS allows
            return
        if not self.worker.alive:
            self._close_transport()
            return
        self._resume_reading()
        self._callback_parser.reset()
        self._current_request = None
        self._arm_keepalive_timer()

    def _on_body(self, chunk: bytes) -> None:
        """Keep no more of a body than any route takes; after its answer, such a connection is closed by gunicorn."""
        if self._held is not None:
            self._held.append(chunk)
        elif self._body_bytes <= BATCH_BYTES:
            super()._on_body(chunk)
        self._body_bytes += len(chunk)
        if self._body_bytes > BATCH_BYTES:
            self._pause_reading()

    def _on_message_complete(self) -> None:
        if self._held is not None:
            body = b"".join(self._held)
            self._held = None
            self._judged = self._judge(body)
            if self._judged is None:  # gunicorn's after all
                super()._on_headers_complete()
                super()._on_body(body)
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

    def _close_transport(self) -> None:
        """Close; a client that may be sending is heard out first.

        What is not read when a connection closes resets it, and takes the answer from a client that is still sending:
        a proxy between us would make a 502 of our 413 (RFC 9112, 9.6).
        """
        parser = self._callback_parser
        is_heard = parser is None or (parser.is_complete and not self._is_pipelined)
        if self._closed or is_heard or not self.transport.can_write_eof() or self.transport.is_closing():
            super()._close_transport()
            return
        self._closed = self._ends = True
        self._current_request = None  # for `is_idle`
        self.transport.write_eof()
        self._resume_reading()
        self._begins(ENDS)

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


def is_idle(connection: ASGIProtocol) -> bool:
    """Say whether no request is being read or answered on this connection.

    `_current_request` is set from the end of a request's headers to the end of its answer (gunicorn 26.2.0; a test
    with an open, silent socket holds it).
    """
    return connection.transport is not None and connection._current_request is None
