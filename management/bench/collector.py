"""`oceanus bench collector`: arms, durable, beside a bare Falcon on the same server, by turns."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any

from management.bench import load
from management.bench.load import Told
from management.bench.rig import Rig, Server

WARM_SECONDS = 3
TOLD = "arms: each beacon is checked, counted in the ledger, and on Redis' disk (appendfsync always) before its answer"


@dataclass(frozen=True, slots=True)
class Measured:
    """One turn of one server: answers a second, milliseconds of half and of 99 %, CPU of the workers, their memory."""

    a_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    mib: float


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


def measure(server: Server, drive: Callable[[], Told]) -> Measured:
    """Drive a server once, and return what it answered and took."""
    before = server.use()
    told = drive()
    after = server.use()
    cpu_us = (after.cpu_seconds - before.cpu_seconds) * 1e6 / told.requests
    return Measured(told.a_second, told.p50_ms, told.p99_ms, cpu_us, after.mib)


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
    found = measure(arms, lambda: load.paced(arms.url, seconds, a_second / 2, posted=posted))
    rig.stop(arms)
    return found


def report(found: Sequence[Pair], half: Measured | None) -> dict[str, Any]:
    """Return all numbers; the ratios at the top are the medians of the pairs'."""
    ratios = [pair.ratios for pair in found]
    return {
        "redis": "appendfsync always, ledger on",
        **{f"ratio_{name}": median(one[name] for one in ratios) for name in ("requests", "cpu", "p99")},
        "at_half_rate": asdict(half) if half else None,
        "pairs": [
            {"arms": asdict(pair.arms), "bare": asdict(pair.bare), "ratios": one}
            for pair, one in zip(found, ratios, strict=True)
        ],
    }
