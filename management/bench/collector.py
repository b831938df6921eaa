"""`oceanus bench collector`: arms, durable, beside a bare Falcon on the same server, by turns."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any, Protocol

from management.bench import instructions, load
from management.bench.load import Told
from management.bench.rig import Rig, Server

WARM_SECONDS = 3
TOLD = "arms: each beacon is checked, counted in the ledger, and on Redis' disk (appendfsync always) before its answer"


@dataclass(frozen=True, slots=True)
class Measured:
    """One turn of one server: answers a second, milliseconds of half and of 99 %, CPU of the workers, their memory.

    `instructions`: what the workers executed for each answer, in user mode; None where that cannot be counted.
    """

    a_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    mib: float
    instructions: float | None = None


class Drive(Protocol):
    """Sends load to a server, under a command that counts."""

    def __call__(self, *, under: Sequence[str]) -> Told:
        """Send it, and return what came of it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A turn of each."""

    arms: Measured
    bare: Measured

    @property
    def ratios(self) -> dict[str, float]:
        """Return arms' numbers by the bare ones."""
        return {
            "requests": self.arms.a_second / self.bare.a_second,
            "cpu": self.arms.cpu_us / self.bare.cpu_us,
            "p99": self.arms.p99_ms / self.bare.p99_ms,
        }


def measure(server: Server, drive: Drive) -> Measured:
    """Drive a server once, and return what it answered and took."""
    with instructions.counter(one.pid for one in server.workers) as counter:
        before = server.use()
        told = drive(under=counter.under)
        after = server.use()
        counted = counter.read()
    cpu_us = (after.cpu_seconds - before.cpu_seconds) * 1e6 / told.requests
    each = None if counted is None else counted / told.requests
    return Measured(told.a_second, told.p50_ms, told.p99_ms, cpu_us, after.mib, each)


def ratio_instructions(less: Sequence[Measured], more: Sequence[Measured]) -> float | None:
    """Return the instructions of an answer in `more` by those in `less`, pair by pair, the median."""
    found = [
        other.instructions / one.instructions
        for one, other in zip(less, more, strict=True)
        if one.instructions and other.instructions
    ]
    return median(found) if found else None


def pairs(rig: Rig, count: int, seconds: int, tell: Callable[[Pair], None], *, posted: bool) -> list[Pair]:
    """Measure arms and the bare Falcon by turns, the first one changing."""
    arms, bare = rig.arms(), rig.bare()
    for one in (arms, bare):
        load.full(one.url, WARM_SECONDS, posted=posted)
    found = []
    for number in range(count):
        order = (arms, bare) if number % 2 else (bare, arms)
        turn = {one.pid: measure(one, partial(load.full, one.url, seconds, posted=posted)) for one in order}
        found.append(Pair(turn[arms.pid], turn[bare.pid]))
        tell(found[-1])
    return found


def at_half(rig: Rig, a_second: float, seconds: int, *, posted: bool) -> Measured:
    """Return what arms does at half of a rate."""
    arms = rig.arms()
    load.full(arms.url, WARM_SECONDS, posted=posted)
    found = measure(arms, partial(load.paced, arms.url, seconds, a_second / 2, posted=posted))
    rig.stop(arms)
    return found


def report(found: Sequence[Pair], half: Measured | None) -> dict[str, Any]:
    """Return all numbers; the ratios at the top are the medians of the pairs'."""
    ratios = [pair.ratios for pair in found]
    return {
        "redis": "appendfsync always, ledger on",
        **{f"ratio_{name}": median(one[name] for one in ratios) for name in ("requests", "cpu", "p99")},
        "ratio_instructions": ratio_instructions([pair.bare for pair in found], [pair.arms for pair in found]),
        "at_half_rate": asdict(half) if half else None,
        "pairs": [
            {"arms": asdict(pair.arms), "bare": asdict(pair.bare), "ratios": one}
            for pair, one in zip(found, ratios, strict=True)
        ],
    }
