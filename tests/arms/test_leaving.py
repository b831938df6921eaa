"""Leaving: arms is stopped when no balancer sends to it any more and its journal is empty, and at last in any case."""

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arms.leaving import LOOK_SECONDS, UNKNOWN, ask, wait
from management import parts


class Time:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def waited(asked: Callable[[float], int | None], least: float, most: float) -> tuple[float, int]:
    """Return how long was waited, and the records left, for a journal that is a function of the time."""
    time = Time()
    left = wait(lambda: asked(time.now), least, most, time.clock, time.sleep)
    return time.now, left


@pytest.mark.parametrize(
    ("empty_at", "ends"),
    [(0, (30.0, 0)), (29, (30.0, 0)), (45, (45.0, 0)), (120, (120.0, 0)), (500, (120.0, 7))],
)
def test_it_waits_for_the_balancer_and_then_for_the_journal_but_not_for_ever(empty_at, ends):
    assert waited(lambda now: 0 if now >= empty_at else 7, 30, 120) == ends


def test_an_arms_that_does_not_answer_is_not_waited_for():
    assert waited(lambda now: None, 30, 120) == (0.0, 0)


@given(st.floats(0, 300), st.floats(0, 300), st.floats(0, 600))
def test_it_never_ends_before_the_least_nor_long_after_the_most(least, more, empty_at):
    seconds, left = waited(lambda now: 0 if now >= empty_at else 1, least, least + more)

    assert least <= seconds <= least + more + LOOK_SECONDS
    assert left == 0 or seconds >= least + more


def test_one_that_listens_and_does_not_say_is_waited_for():
    """A busy arms is slow to answer: its visitors must not be refused, nor its journal be left, for that."""
    assert waited(lambda now: UNKNOWN if now < 40 else 0, 30, 120) == (40.0, 0)
    assert waited(lambda now: UNKNOWN, 30, 120) == (120.0, UNKNOWN)


def test_only_where_nobody_listens_there_is_nothing_to_wait_for():
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as refusing:
        threading.Thread(target=refusing.serve_forever, daemon=True).start()
        assert ask(silent.getsockname()[1]) == UNKNOWN
        assert ask(refusing.server_port) == UNKNOWN
        refusing.shutdown()
    assert ask(parts.free_port()) is None


class Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(403)

    def log_message(self, *_: object) -> None:
        pass
