"""The network: every call to Redis and to BigQuery passes here, and a seeded chance says what becomes of it.

It runs; or it is lost, before or after it ran; or it runs late, perhaps long after its sender has given up or died; or
its process is killed or stopped at this very point. Of a pipeline, a part may run and the rest be lost or late.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.model.scheduler import Scheduler

Run = Callable[[int, int], list[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How often things go wrong: chances for each call, and for each step of the world those of `World._trouble`."""

    lost: float = 0.02
    late: float = 0.03
    kill: float = 0.002
    stop: float = 0.0015
    away: float = 0.0004
    busy: float = 0.0004
    trouble: float = 0.0006
    strict: float = 0.0004
    streams_lost: float = 0.0002
    killed_anywhere: float = 0.001
    stopped_anywhere: float = 0.001
    told_to_stop: float = 0.0004


USUAL = Faults()
CALM = Faults(**dict.fromkeys(Faults.__dataclass_fields__, 0.0))


@dataclass(slots=True)
class Late:
    """What is still under way: it runs when it is due, whoever waits for it."""

    run: Callable[[], list[Any]]
    answers: list[Any] | None = None

    def arrive(self) -> None:
        """Run now."""
        self.answers = self.run()

    def has_arrived(self) -> bool:
        """Say whether it ran."""
        return self.answers is not None


class Network:
    """Carries calls, by the faults of the moment; counts what it did to them, and keeps a trace of all."""

    def __init__(self, scheduler: Scheduler, chance: Random, faults: Faults, tell: Callable[[str], None]) -> None:
        self.faults = faults
        self.tally: Counter[str] = Counter()
        self.under_way: list[Late] = []
        self.redis_away_until = 0.0
        self._scheduler = scheduler
        self._chance = chance
        self._tell = tell
        self._trace = hashlib.sha256()

    @property
    def trace(self) -> str:
        """Return a hash of all that happened."""
        return self._trace.hexdigest()

    def call(
        self,
        what: str,
        count: int,
        run: Run,
        seconds: float,
        unanswered: Callable[[str], Exception],
        hazard: float = 1.0,
        slowness: float = 0.0,
    ) -> list[Any]:
        """Carry a call of `count` commands, which `run(first, last)` carries out, and return their answers.

        Raises what `unanswered` makes where no answer comes within `seconds`, or KilledError. `hazard`: how much more
        dangerous than others it is; `slowness`: it takes up to so many seconds.
        """
        self._scheduler.wait(self._chance.uniform(0, slowness))
        fate = self._fate(hazard)
        self.note(f"{what} {fate}")
        if fate == "run":
            return run(0, count)
        if fate == "stop":
            return self._stopped(run, count)
        self.tally[fate] += 1
        done = self._chance.randint(0, count - (fate == "late"))
        answers = run(0, done)
        if fate == "late":
            late = self._send_late(lambda: run(done, count))
            self._scheduler.wait(self._patience(seconds), late.has_arrived)
            if late.answers is not None:
                return answers + late.answers
        elif fate == "kill":
            if done < count and self._chance.random() < 0.5:
                self._send_late(lambda: run(done, count))
            self._scheduler.kill_self()
        else:
            self._scheduler.wait(self._patience(seconds))
        raise unanswered(f"{what}: no answer")

    def note(self, what: str) -> None:
        """Write a line of the trace; it must be the same in each run of a seed."""
        line = f"{self._scheduler.steps} {self._scheduler.now:.3f} {self._scheduler.name} {what}"
        self._trace.update(line.encode())
        self._tell(line)

    def _fate(self, hazard: float) -> str:
        chance, faults = self._chance.random() / hazard, self.faults
        for fate in ("lost", "late", "kill", "stop"):
            chance -= getattr(faults, fate)
            if chance < 0:
                return fate
        return "run"

    def _patience(self, seconds: float) -> float:
        """Return how long the sender waits: until its deadline, or not at all, because its connection is reset."""
        return self._chance.choice((0.0, seconds))

    def _stopped(self, run: Run, count: int) -> list[Any]:
        """Carry it out, but let the process see the answer much later."""
        self.tally["stop"] += 1
        answers = run(0, count)
        self._scheduler.process.stopped_until = self._scheduler.now + self._chance.uniform(0.5, 8)
        self._scheduler.pause()
        return answers

    def _send_late(self, run: Callable[[], list[Any]]) -> Late:
        late = Late(run)
        self.under_way.append(late)

        def arrive() -> None:
            self.under_way.remove(late)
            self.note("arrives late")
            late.arrive()

        self._scheduler.at(0.1 * 200 ** self._chance.random(), arrive)  # from 0.1 to 20 s
        return late
