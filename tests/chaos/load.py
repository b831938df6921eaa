"""The load: clients that send beacons with known ids at a steady rate, and note what each was answered.

The rate does not follow the answers: where arms is slow, more requests are open at once. A client whose request got no
answer knows of its beacon that it may be none or one; if it has named it, it sends it again until it is answered.
"""

import asyncio
import json
from array import array
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import IntEnum
from time import monotonic, time
from typing import Any

from tests.chaos import beacons
from tests.chaos.beacons import Sending

PATIENCE_SECONDS = 4.0
MOST_OPEN = 600  # requests without an answer; beyond that a beacon is not sent
TICK_SECONDS = 0.02
AGAIN_SECONDS = 2.0  # and twice as long each time, up to
AGAIN_AT_MOST = 8.0


class Fate(IntEnum):
    """What a client knows of a beacon."""

    UNSENT = 0
    UNANSWERED = 1
    REFUSED = 2
    ACCEPTED = 3


class Log:
    """The fate of every beacon by its id; ids are given out in order."""

    def __init__(self) -> None:
        self._fates = bytearray()
        self._sent_at = array("d")
        self.counts: Counter[Fate] = Counter()

    @property
    def next_id(self) -> int:
        """Return the id of the next beacon."""
        return len(self._fates)

    def send(self, ids: range) -> None:
        """Note that these are on their way."""
        self._fates.extend(bytes([Fate.UNANSWERED]) * len(ids))
        self.counts[Fate.UNANSWERED] += len(ids)
        self._sent_at.extend([time()] * len(ids))

    def answer(self, one: int, fate: Fate) -> None:
        """Note what became of one."""
        self._fates[one] = fate
        self.counts[Fate.UNANSWERED] -= 1
        self.counts[fate] += 1

    def sent_at(self, one: int) -> float:
        """Return when one was sent, in seconds since 1970."""
        return self._sent_at[one]

    def of(self, fate: Fate) -> set[int]:
        """Return the ids of one fate."""
        return {one for one, known in enumerate(self._fates) if known == fate}


@dataclass(eq=False)
class Line:
    """A kept-alive connection of a client."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and return status and body; raises OSError or EOFError where no whole answer comes."""
        self.writer.write(request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status = int(head.split(" ", 2)[1])
        lengths = [line.partition(":")[2] for line in head.split("\r\n") if line.lower().startswith("content-length:")]
        return status, await self.reader.readexactly(int(lengths[0]) if lengths else 0)

    def close(self) -> None:
        """Break it."""
        self.writer.transport.abort()


class Load:
    """The clients of one collector, at a port of loopback."""

    def __init__(self, port: int, rate: float) -> None:
        self.log = Log()
        self.accepted_at = 0.0
        self._port = port
        self._rate = rate
        self._idle: list[Line] = []
        self._open: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()  # to send again
        self.sent_again = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Send from now on."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Send no more, and wait for what is open."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while self._open or self._waiting:
            await asyncio.wait(self._open | self._waiting)
        for line in self._idle:
            line.close()

    def send_to(self, site: str, count: int) -> None:
        """Send some beacons to one site, besides the steady load."""
        for _ in range(count):
            self._send(beacons.single(site, self.log.next_id))

    async def _run(self) -> None:
        began, turn = monotonic(), 0
        per_second = self._rate * len(beacons.TURN) / beacons.TURN_BEACONS
        while True:
            due = int((monotonic() - began) * per_second)
            if due - turn > per_second:  # this process itself was held up: no burst afterwards
                began += (due - turn) / per_second
                continue
            for number in range(turn, due):
                if len(self._open) < MOST_OPEN:
                    self._send(beacons.sending(number, self.log.next_id))
            turn = due
            await asyncio.sleep(TICK_SECONDS)

    def _send(self, one: Sending) -> None:
        self.log.send(one.ids)
        _keep(self._open, self._try(one))

    async def _try(self, one: Sending) -> None:
        answer = await self._ask(one.request)
        if one.again and (answer is None or answer[0] == 503):
            _keep(self._waiting, self._send_again(one))
        elif answer:
            self._note(one, *answer)

    async def _send_again(self, one: Sending) -> None:
        """Send a beacon until it is answered, as its tracker does."""
        answer, wait = None, AGAIN_SECONDS
        while answer is None or answer[0] == 503:
            await asyncio.sleep(wait)
            self.sent_again += 1
            answer, wait = await self._ask(one.again), min(2 * wait, AGAIN_AT_MOST)
        self._note(one, *answer)

    async def _ask(self, request: bytes) -> tuple[int, bytes] | None:
        """Return status and body; None where no whole answer comes: then it may be none or one."""
        line = None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                line = self._reused() or await self._connect()
                answer = await line.ask(request)
        except (OSError, EOFError, TimeoutError):
            if line:
                line.close()
            return None
        self._idle.append(line)
        return answer

    def _reused(self) -> Line | None:
        """Return an idle connection that the server has not closed meanwhile, as a browser would."""
        while self._idle:
            line = self._idle.pop()
            if not line.reader.at_eof() and line.reader.exception() is None:
                return line
            line.close()
        return None

    async def _connect(self) -> Line:
        return Line(*await asyncio.open_connection("127.0.0.1", self._port))

    def _note(self, one: Sending, status: int, body: bytes) -> None:
        if one.is_batch and status == 200:
            statuses = [result["status"] for result in json.loads(body)["results"]]
        else:
            statuses = [status] * len(one.ids)
        for number, each in zip(one.ids, statuses, strict=True):
            self.log.answer(number, Fate.ACCEPTED if 200 <= each < 300 else Fate.REFUSED)
        if 200 in statuses:
            self.accepted_at = monotonic()


def _keep(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
