"""What signals ask of `oceanus up`."""

import asyncio
import signal
from collections.abc import Sequence

import pytest

from management import parts
from management.up import SAME_SECONDS, Stop, up
from oceanus.errors import MisconfiguredError

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


def test_a_file_of_targets_that_cannot_be_written_stops_the_start(tmp_path):
    file = tmp_path / "missing" / "prometheus.json"
    environ = {"TARGETS_FILE": str(file), "DATA_DIR": str(tmp_path / "data"), "PORT": str(parts.free_port())}

    with pytest.raises(MisconfiguredError) as refused:
        asyncio.run(up(environ))

    assert refused.value.mistakes == [
        f"TARGETS_FILE={file}: cannot be written: make {file.parent}, where this user may write, or leave it out"
    ]
    assert not (tmp_path / "data").exists()
