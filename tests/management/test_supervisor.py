"""Children in sessions of their own, with small real processes."""

import asyncio
import io
import os
import re
import sys
from collections.abc import Awaitable, Callable

import pytest

from management import leftovers
from management.supervisor import DiedEarlyError, Program, Supervisor, ending, pause_seconds
from management.uplog import Log

WAITS = "import signal; print('waits', flush=True); signal.pause()"
ORPHANS = """
import os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; print('orphan here', flush=True); signal.pause()"])
signal.pause()
"""


class Stage:
    """A supervisor, what it said, and how long it paused; pauses take no time."""

    def __init__(self) -> None:
        self.told, self.watched = io.StringIO(), io.StringIO()
        self.pauses: list[float] = []
        self._news = asyncio.Event()
        log = Log(self.told, self.watched)
        said = log.say

        def say(line: str) -> None:
            said(line)
            self._news.set()

        log.say = say
        self.supervisor = Supervisor(log, self._news.set, self._pause)

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for news until the condition holds."""
        async with asyncio.timeout(20):
            while not holds():
                await self._news.wait()
                self._news.clear()

    def lines(self) -> list[str]:
        return self.told.getvalue().splitlines()


def play(scene: Callable[[Stage], Awaitable[None]]) -> Stage:
    async def run() -> Stage:
        stage = Stage()
        await scene(stage)
        return stage

    return asyncio.run(run())


def child(lines: str, name: str = "child") -> Program:
    return Program(name=name, words=[sys.executable, "-c", lines], environ=dict(os.environ))


def test_every_line_of_both_streams_is_told_behind_the_name():
    speaks = (
        "import sys; print('out', flush=True); print('err', file=sys.stderr, flush=True); print('no newline', end='')"
    )

    async def scene(stage: Stage) -> None:
        await stage.supervisor.once(child(speaks))

    assert play(scene).lines() == ["child         | out", "child         | err", "child         | no newline"]


def test_hushed_lines_are_in_the_file_alone():
    async def scene(stage: Stage) -> None:
        words = [sys.executable, "-c", "print('noise 1'); print('news')"]
        await stage.supervisor.once(Program(name="child", words=words, environ={}, hush=re.compile("noise")))

    stage = play(scene)

    assert stage.watched.getvalue() == "child         | news\n"
    assert stage.lines() == ["child         | noise 1", "child         | news"]


def test_a_program_that_fails_before_all_is_up_is_named_with_its_last_words():
    async def scene(stage: Stage) -> None:
        await stage.supervisor.start(child("import sys; print('bad setting'); sys.exit(3)"))
        error = await asyncio.wait_for(stage.supervisor.failure, 20)

        assert (str(error), error.lines) == ("child ended with exit code 3 before all was up", ["bad setting"])
        await stage.supervisor.stop("child", 1)

    play(scene)


def test_a_program_run_once_that_fails_is_an_error():
    async def scene(stage: Stage) -> None:
        with pytest.raises(DiedEarlyError, match="exit code 1"):
            await stage.supervisor.once(child("raise SystemExit(1)"))

    play(scene)


def test_a_program_that_is_not_there_counts_as_ended():
    async def scene(stage: Stage) -> None:
        await stage.supervisor.start(Program(name="child", words=["/nonexistent/program"], environ={}))
        error = await asyncio.wait_for(stage.supervisor.failure, 20)

        assert "exit code 127" in str(error)
        await stage.supervisor.stop("child", 1)

    play(scene)


def test_a_child_that_ends_is_started_again_with_growing_pauses():
    async def scene(stage: Stage) -> None:
        stage.supervisor.all_is_up()
        await stage.supervisor.start(child("raise SystemExit(5)"))
        await stage.until(lambda: len(stage.pauses) >= 4)
        await stage.supervisor.stop("child", 5)

    stage = play(scene)

    assert stage.pauses[:4] == [0.0, 1.0, 2.0, 4.0]
    assert stage.lines()[:2] == [
        "up            | child ended with exit code 5; it is started again now",
        "up            | child ended with exit code 5; it is started again in 1 s",
    ]


def test_orphans_of_a_killed_child_are_ended_before_it_is_started_again():
    async def scene(stage: Stage) -> None:
        stage.supervisor.all_is_up()
        await stage.supervisor.start(child(ORPHANS))
        first = stage.supervisor.running["child"]
        await stage.until(lambda: "orphan here" in stage.told.getvalue())

        os.kill(first.pid, 9)
        await stage.until(lambda: stage.told.getvalue().count("orphan here") == 2)

        assert leftovers.members(first) == []
        second = stage.supervisor.running["child"]
        await stage.supervisor.stop("child", 5)
        assert leftovers.members(second) == []

    stage = play(scene)

    assert "up            | child was ended by SIGKILL; it is started again now" in stage.lines()


def test_a_stopped_child_is_not_started_again():
    async def scene(stage: Stage) -> None:
        stage.supervisor.all_is_up()
        await stage.supervisor.start(child(WAITS))
        await stage.until(lambda: "waits" in stage.told.getvalue())
        await stage.supervisor.stop("child", 5)

        assert stage.supervisor.running == {}

    assert play(scene).lines() == ["child         | waits"]


def test_a_child_that_does_not_stop_in_its_grace_time_is_killed():
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITS

    async def scene(stage: Stage) -> None:
        await stage.supervisor.start(child(stubborn))
        await stage.until(lambda: "waits" in stage.told.getvalue())
        await stage.supervisor.stop("child", 0.2)

    assert play(scene).lines()[-1] == "up            | child did not stop in 0.2 s: killed"


def test_a_hurried_stop_kills_at_once_and_says_so():
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITS

    async def scene(stage: Stage) -> None:
        await stage.supervisor.start(child(stubborn))
        await stage.until(lambda: "waits" in stage.told.getvalue())
        hurry = asyncio.Event()
        asyncio.get_running_loop().call_later(0.1, hurry.set)
        async with asyncio.timeout(20):
            await stage.supervisor.stop("child", 100, hurry)

    assert play(scene).lines()[-1] == "up            | child is not waited for any longer: killed"


def test_a_child_has_a_session_of_its_own():
    async def scene(stage: Stage) -> None:
        await stage.supervisor.once(child("import os; print(os.getsid(0) == os.getpid())"))

    assert play(scene).lines() == ["child         | True"]


def test_a_child_inherits_the_descriptors_it_keeps_and_no_other():
    async def scene(stage: Stage) -> None:
        kept, other = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_RDONLY)
        tries = f"import os; [print(os.path.exists(f'/dev/fd/{{number}}')) for number in ({kept}, {other})]"
        program = Program(name="child", words=[sys.executable, "-c", tries], environ={}, keeps=(kept,))
        await stage.supervisor.once(program)
        os.close(kept)
        os.close(other)

    assert play(scene).lines() == ["child         | True", "child         | False"]


def test_pauses_grow_to_half_a_minute():
    assert [pause_seconds(deaths) for deaths in range(9)] == [0, 0, 1, 2, 4, 8, 16, 30, 30]


def test_endings_are_told_in_words():
    assert [ending(0), ending(-15), ending(-64)] == [
        "ended with exit code 0",
        "was ended by SIGTERM",
        "was ended by SIGRTMAX",
    ]
