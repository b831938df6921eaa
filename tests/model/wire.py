"""The wire to a real Redis: stands for the clients that `Spool` and `Pusher` are given.

Redis itself is real, and so are the scripts. Two things are the world's: what becomes of a call (`network`), and time:
Redis would let a lease lapse by its own clock, so each lease is made to stay, and deleted when the world's clock says.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import redis

from oceanus import scripts
from tests.model.network import Network
from tests.model.rules import Rules
from tests.model.scheduler import Process, Scheduler

Command = tuple[str, tuple[Any, ...], dict[str, Any]]


class Server:
    """The one Redis, with its leases in virtual time; `rules` looks after each change."""

    def __init__(self, client: "redis.Redis", scheduler: Scheduler, rules: Rules) -> None:
        self._client = client
        self._scheduler = scheduler
        self._rules = rules
        self._leases: dict[str, float] = {}

    def run(self, process: Process, commands: list[Command]) -> list[Any]:
        """Carry out commands of a process, in one trip; an error stands in the answer's place."""
        pipe = self._client.pipeline(transaction=False)
        for name, values, named in commands:
            getattr(pipe, name)(*values, **named)
        is_change = any(name == "eval" for name, _, _ in commands)
        if is_change:
            self._rules.ask(pipe)
        looked = len(pipe)
        leases = sorted({value for _, values, _ in commands for value in values if _is_lease(value)})
        for lease in leases:
            pipe.pttl(lease)
            pipe.persist(lease)
        answers = pipe.execute(raise_on_error=False) if commands else []
        for lease, left_ms in zip(leases, answers[looked::2], strict=True):
            if left_ms > 0:
                self._renew(lease, left_ms)
        if is_change:
            self._rules.look(process, answers[len(commands) : looked])
        return answers[: len(commands)]

    def _renew(self, lease: str, left_ms: int) -> None:
        """Let a lease lapse in virtual time; a ten-thousandth of a real second matters nowhere."""
        seconds = -(-left_ms // 1000)
        ends = self._leases[lease] = self._scheduler.now + seconds

        def lapse() -> None:
            if self._leases.get(lease) == ends:
                self._client.delete(lease)

        self._scheduler.at(seconds, lapse)


class Wire:
    """A process's client: any command, or a pipeline of them, as one call over the network."""

    def __init__(
        self, server: Server, network: Network, scheduler: Scheduler, process: Process, seconds: float
    ) -> None:
        self._server = server
        self._network = network
        self._scheduler = scheduler
        self._process = process
        self._seconds = seconds

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *values, **named: self.send([(name, values, named)], raise_on_error=True)[0]

    def pipeline(self, transaction: bool = False) -> "Pipe":
        """Return an empty pipeline; of a transaction, all commands run or none."""
        return Pipe(self, transaction)

    def send(self, commands: list[Command], raise_on_error: bool, as_one: bool = False) -> list[Any]:
        """Send commands in one trip and return their answers; raises redis.TimeoutError where none comes."""
        what = "+".join(dict.fromkeys(map(_name, commands)))
        if self._network.redis_away_until > self._scheduler.now:
            self._scheduler.pause()
            raise redis.ConnectionError(f"{what}: refused")

        def run(first: int, last: int) -> list[Any]:
            return self._server.run(self._process, commands[first : len(commands) if as_one and last else last])

        answers = self._network.call(what, 1 if as_one else len(commands), run, self._seconds, redis.TimeoutError)
        self._network.note(f"{what} answers {list(map(_shape, answers))}")
        for answer in answers if raise_on_error else []:
            if isinstance(answer, Exception):
                raise answer
        return answers


class Pipe:
    """A pipeline: commands are kept until `execute`."""

    def __init__(self, wire: Wire, as_one: bool = False) -> None:
        self._wire = wire
        self._as_one = as_one
        self._commands: list[Command] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *values, **named: self._commands.append((name, values, named))

    def execute(self, raise_on_error: bool = True) -> Any:
        """Send them all in one trip, and be empty again."""
        commands, self._commands = self._commands, []
        return self._wire.send(commands, raise_on_error, self._as_one) if commands else []


class AsyncWire:
    """The same for asyncio: another thread of the process waits for the answer, so that the loop goes on."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def pipeline(self, transaction: bool = False) -> "AsyncPipe":
        """Return an empty pipeline; of a transaction, all commands run or none."""
        return AsyncPipe(self._wire, transaction)

    async def evals(self, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """Run scripts in one trip."""
        commands: list[Command] = [("eval", tuple(call), {}) for call in calls]
        return await asyncio.to_thread(self._wire.send, commands, raise_on_error=False)

    async def ping(self) -> object:
        """Ask for a sign of life."""
        return await asyncio.to_thread(self._wire.ping)


class AsyncPipe(Pipe):
    """A pipeline whose answers are awaited."""

    async def execute(self, raise_on_error: bool = True) -> Any:
        """Send them all in one trip."""
        return await asyncio.to_thread(super().execute, raise_on_error)


_NAMES = {text: name for name, text in vars(scripts).items() if isinstance(text, str)}


def _name(command: Command) -> str:
    """Return a script's name, or the command's."""
    name, values, _ = command
    return _NAMES.get(values[0], "a changed script") if name == "eval" else name


def _is_lease(value: object) -> bool:
    return isinstance(value, str) and ":lease:" in value


def _shape(answer: object) -> object:
    """Return an answer without what is random in it: ids and texts by their length."""
    if isinstance(answer, bytes) and len(answer) > 6:
        return len(answer)
    if isinstance(answer, list | set):
        return list(map(_shape, answer)) if isinstance(answer, list) else len(answer)
    return type(answer).__name__ if isinstance(answer, Exception) else answer
