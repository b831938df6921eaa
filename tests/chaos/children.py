"""The children: real processes by name, each with its log, started again when they end, as an orchestrator does.

Only processes that were started here are ever signalled, by their id.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import psutil

LOOK_SECONDS = 0.1
PAUSE_SECONDS = 0.5
STOP_SECONDS = 30.0


@dataclass
class Child:
    """One program. `held`: it is not started again when it ends."""

    name: str
    words: list[str]
    environ: Mapping[str, str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None
    held: bool = False
    starts: int = 0
    due: float = 0.0
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def lives(self) -> bool:
        """Say whether it runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Return its process id."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it in a session of its own, its output behind that of its earlier starts."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.words, env={**self.environ, **self.extra}, stdout=log, stderr=log, start_new_session=True
            )
        self.starts += 1

    def signal(self, number: int) -> None:
        """Signal it, if it lives."""
        if self.lives:
            os.kill(self.pid, number)

    def workers(self) -> list[int]:
        """Return the ids of its own children: a server's workers."""
        with suppress(psutil.NoSuchProcess):
            return [one.pid for one in psutil.Process(self.pid).children()]
        return []


class Children:
    """All of them, by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._every: dict[str, Child] = {}
        self._keeper: asyncio.Task[None] | None = None

    def __getitem__(self, name: str) -> Child:
        return self._every[name]

    def start(self, name: str, words: list[str], environ: Mapping[str, str]) -> Child:
        """Start a program; its log is NAME.log."""
        child = self._every[name] = Child(name, words, environ, self._folder / f"{name}.log")
        child.start()
        return child

    def keep(self) -> None:
        """From now on start again what ends."""
        self._keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            for child in self._every.values():
                if child.lives or child.held:
                    child.due = 0.0
                elif not child.due:
                    child.due = monotonic() + PAUSE_SECONDS
                elif monotonic() >= child.due:
                    child.due = 0.0
                    child.start()
            await asyncio.sleep(LOOK_SECONDS)

    async def stop(self, name: str, seconds: float = STOP_SECONDS) -> None:
        """Stop one as an orchestrator does, and its workers with it; return when it is gone."""
        child = self._every[name]
        child.held = True
        workers = child.workers() if child.lives else []
        for number in (signal.SIGCONT, signal.SIGTERM):
            child.signal(number)
        await _until_gone(child, seconds)
        child.signal(signal.SIGKILL)
        await _until_gone(child, 5)
        for pid in workers:
            _kill_orphan(pid, child.words)

    async def end(self) -> None:
        """End everything, the last started first."""
        if self._keeper:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        for name in reversed(self._every):
            await self.stop(name, 10)


async def _until_gone(child: Child, seconds: float) -> None:
    ends = monotonic() + seconds
    while child.lives and monotonic() < ends:  # noqa: ASYNC110 - a process sets no event
        await asyncio.sleep(0.05)


def _kill_orphan(pid: int, words: list[str]) -> None:
    """End a worker that outlived its master; its command line proves that the id is still its own."""
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        if psutil.Process(pid).cmdline()[:1] == words[:1]:
            os.kill(pid, signal.SIGKILL)
