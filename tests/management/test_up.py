"""What signals ask of `oceanus up`."""

import asyncio
import signal
from collections.abc import Sequence

import pytest

from management.up import SAME_SECONDS, Stop

LATER = SAME_SECONDS + 1


@pytest.mark.parametrize(
    ("heard", "asked", "hurried"),
    [
        ([], False, False),
        ([(0, signal.SIGTERM)], True, False),
        ([(0, signal.SIGINT), (LATER, signal.SIGINT)], True, True),
        ([(0, signal.SIGTERM), (LATER, signal.SIGINT)], True, True),
        ([(0, signal.SIGINT), (LATER, signal.SIGTERM)], True, False),
        ([(0, signal.SIGINT), (0.01, signal.SIGINT)], True, False),  # one Ctrl-C by way of make
    ],
)
def test_only_a_second_ctrl_c_hurries(heard: Sequence[tuple[float, int]], asked: bool, hurried: bool):
    now = 0.0

    async def run() -> tuple[bool, bool]:
        nonlocal now
        stop = Stop(lambda: now)
        for now, number in heard:  # noqa: B007 - the clock reads it
            stop.hear(number)
        return stop.asked.is_set(), stop.hurried.is_set()

    assert asyncio.run(run()) == (asked, hurried)
