"""The supervisor: programs as children in sessions of their own, kept running, every line of theirs told.

Until `all_is_up` a child that ends is the end of it all (`failure`); from then on it is started again. Nothing of a
child's session outlives it: what it left behind is ended before it is started again and after it is stopped.
"""

import asyncio
import contextlib
import os
import re
import signal
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from management import leftovers
from management.leftovers import Mark
from management.uplog import Log

LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
LAST_LINES = 20
LONGEST_LINE_BYTES = 1_000_000
LEFTOVER_GRACE_SECONDS = 3.0
CANNOT_BE_RUN = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a child runs; `keeps` are descriptors of ours that it inherits, `hush` the lines for up.log alone."""

    name: str
    words: list[str]
    environ: Mapping[str, str]
    keeps: tuple[int, ...] = ()
    hush: re.Pattern[str] | None = None


class DiedEarlyError(Exception):
    """A child ended before all was up: stop the others, and show its last lines."""

    def __init__(self, name: str, ending: str, lines: list[str]) -> None:
        super().__init__(f"{name} {ending} before all was up")
        self.lines = lines


def pause_seconds(deaths: int) -> float:
    """Return how long to wait after so many deaths in a row: at once the first time, then 1, 2, 4 .. 30 s."""
    return 0.0 if deaths <= 1 else min(2.0 ** (deaths - 2), LONGEST_PAUSE_SECONDS)


def ending(code: int) -> str:
    """Return in words how a process ended."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


class Supervisor:
    """Starts, keeps and stops children by name; `changed` hears of every start and every end."""

    def __init__(
        self,
        log: Log,
        changed: Callable[[], None] = lambda: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.failure: asyncio.Future[DiedEarlyError] = asyncio.get_running_loop().create_future()
        self._log = log
        self._changed = changed
        self._sleep = sleep
        self._up = False
        self._children: dict[str, _Child] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}

    @property
    def running(self) -> dict[str, Mark]:
        """Return who runs, by name."""
        return {name: child.mark for name, child in self._children.items() if child.mark is not None}

    def all_is_up(self) -> None:
        """From now on start again what ends."""
        self._up = True

    async def start(self, program: Program) -> None:
        """Start a child and keep it running."""
        child = _Child(program, self._log)
        self._children[program.name] = child
        await child.start()
        self._changed()
        self._keepers[program.name] = asyncio.create_task(self._keep(child), name=f"keep {program.name}")

    async def once(self, program: Program) -> None:
        """Run a program to its end; raises DiedEarlyError unless that is exit code 0."""
        child = _Child(program, self._log)
        self._children[program.name] = child
        await child.start()
        self._changed()
        code = await child.ended()
        del self._children[program.name]
        if code != 0:
            raise DiedEarlyError(program.name, ending(code), list(child.lines))

    async def stop(self, name: str, grace_seconds: float, hurry: asyncio.Event | None = None) -> None:
        """Stop a child: SIGTERM, and SIGKILL after `grace_seconds` or on `hurry`; one not there is stopped already."""
        keeper = self._keepers.pop(name, None)
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        child = self._children.pop(name, None)
        if child is not None and not await child.stop(grace_seconds, hurry or asyncio.Event()):
            hurried = hurry is not None and hurry.is_set()
            why = "is not waited for any longer" if hurried else f"did not stop in {grace_seconds:g} s"
            self._log.tell("up", f"{name} {why}: killed")
        self._changed()

    async def _keep(self, child: "_Child") -> None:
        loop, deaths = asyncio.get_running_loop(), 0
        while True:
            began = loop.time()
            code = await child.ended()
            if not self._up:
                self._fail(DiedEarlyError(child.program.name, ending(code), list(child.lines)))
                return
            deaths = 1 if loop.time() - began >= STEADY_SECONDS else deaths + 1
            await self._again(child, code, pause_seconds(deaths))

    async def _again(self, child: "_Child", code: int, seconds: float) -> None:
        when = f"in {seconds:g} s" if seconds else "now"
        self._log.tell("up", f"{child.program.name} {ending(code)}; it is started again {when}")
        await self._sleep(seconds)
        await child.start()
        self._changed()

    def _fail(self, error: DiedEarlyError) -> None:
        if not self.failure.done():
            self.failure.set_result(error)


class _Child:
    """One program, as one process at a time."""

    def __init__(self, program: Program, log: Log) -> None:
        self.program = program
        self.lines: deque[str] = deque(maxlen=LAST_LINES)
        self.mark: Mark | None = None
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._telling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process in a session of its own, so that Ctrl-C at the terminal does not reach it.

        A program that cannot be run counts as one that ended at once, with a shell's exit code for it.
        """
        self._process = None
        # A pipe of our own: with asyncio's the process would count as running while an orphan of it holds the pipe.
        hears, speaks = os.pipe()
        self._telling = asyncio.create_task(self._tell(hears), name=f"tell {self.program.name}")
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.program.words,
                env=dict(self.program.environ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=speaks,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self.program.keeps,
            )
            self.mark = leftovers.mark_started(self._process.pid)
        except OSError as exc:
            self._told(f"cannot be run: {exc}".encode())
        finally:
            os.close(speaks)

    async def ended(self) -> int:
        """Wait for the end of the process and of all that it left behind; return its exit code."""
        code = CANNOT_BE_RUN if self._process is None else await self._process.wait()
        await self._clear()
        return code

    async def stop(self, grace_seconds: float, hurry: asyncio.Event) -> bool:
        """Ask the process to end, then make it; return whether asking was enough."""
        if self._process is None:
            return True
        asked = await _ask(self._process, grace_seconds, hurry)
        if not asked:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self.ended()
        return asked

    async def _clear(self) -> None:
        """End the rest of the session, and hear its last words."""
        left, self.mark = self.mark, None
        telling, self._telling = self._telling, None
        if left is not None:
            await asyncio.to_thread(leftovers.end, [left], LEFTOVER_GRACE_SECONDS)
        if telling is not None:
            await asyncio.wait([telling], timeout=1)  # whoever left the session may hold the pipe open for ever
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _tell(self, hears: int) -> None:
        """Tell every line that comes out of the pipe, until nobody holds its other end."""
        said = asyncio.StreamReader()
        with os.fdopen(hears, "rb") as pipe:
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(said), pipe
            )
            try:
                async for line in _lines(said):
                    self._told(line)
            finally:
                transport.close()

    def _told(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace").rstrip("\r")
        if self.program.hush is not None and self.program.hush.match(text):
            self._log.keep(self.program.name, text)
            return
        self.lines.append(text)
        self._log.tell(self.program.name, text)


async def _lines(said: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield each line without its end; one that does not end is cut into pieces."""
    rest = b""
    while chunk := await said.read(65536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > LONGEST_LINE_BYTES:
            yield rest
            rest = b""
    if rest:
        yield rest


async def _ask(process: asyncio.subprocess.Process, grace_seconds: float, hurry: asyncio.Event) -> bool:
    """Send SIGTERM; return whether the process has ended within `grace_seconds`, and before `hurry`."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    ended, hurried = asyncio.create_task(process.wait()), asyncio.create_task(hurry.wait())
    await asyncio.wait([ended, hurried], timeout=grace_seconds, return_when=asyncio.FIRST_COMPLETED)
    done = ended.done()
    for task in (ended, hurried):
        task.cancel()
    await asyncio.gather(ended, hurried, return_exceptions=True)
    return done
