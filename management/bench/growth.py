"""`oceanus bench growth`: what a beacon costs arms where there is more of everything: it should cost the same.

More records that wait, more sites, more workers, more hours: each beside the same arms without, by turns.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any

from management.bench import beacons, load
from management.bench.collector import Measured, measure, ratio_instructions
from management.bench.rig import Rig, Server, rig
from oceanus import sites
from oceanus.settings import RedisSettings

SITE = "bizocean"
WARM_SECONDS = 2
SITES = 500

Tell = Callable[[str, int, int], object]


@dataclass(frozen=True, slots=True)
class Growth:
    """Turns with less and with more of something, by turns."""

    what: str
    less: Sequence[Measured]
    more: Sequence[Measured]

    @property
    def ratio_cpu(self) -> float:
        """Return the CPU of a beacon with more by that with less, pair by pair, the median."""
        return median(more.cpu_us / less.cpu_us for less, more in zip(self.less, self.more, strict=True))

    @property
    def ratio_instructions(self) -> float | None:
        """Return the same of instructions, which do not grow where processes take caches from each other."""
        return ratio_instructions(self.less, self.more)

    def report(self) -> dict[str, Any]:
        """Return all numbers."""
        return {
            "ratio_cpu": self.ratio_cpu,
            "ratio_instructions": self.ratio_instructions,
            "less": [asdict(one) for one in self.less],
            "more": [asdict(one) for one in self.more],
        }


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of a worker in MiB, after so many beacons."""

    beacons: int
    mib: float


class Bench:
    """Two Redis, each with its arms: the second has more."""

    def __init__(self, turns: int, seconds: int, tell: Tell) -> None:
        self._turns = turns
        self._seconds = seconds
        self._tell = tell

    def waiting(self, less: Rig, more: Rig, records: int) -> Growth:
        """Compare an empty queue with one in which records wait."""
        less.redis()
        self._fill(more.redis(), records)
        return self._compare(f"{records:,} records wait", less.arms(), more.arms())

    def sites(self, made: Rig) -> Growth:
        """Compare one site with five hundred."""
        made.redis()
        one = made.folder / "one.yaml"
        one.write_text(sites_text(0), encoding="utf-8")
        many = made.folder / "many.yaml"
        many.write_text(sites_text(SITES - 1), encoding="utf-8")
        return self._compare(f"{SITES} sites", made.arms(SITES_FILE=str(one)), made.arms(SITES_FILE=str(many)))

    def workers(self, made: Rig) -> Growth:
        """Compare one worker with two, which have twice the connections."""
        made.redis()
        return self._compare("two workers", made.arms(), made.arms(WORKERS="2"), 2 * load.CONNECTIONS)

    def memory(self, made: Rig, count: int) -> list[Memory]:
        """Send beacons and look at the worker's memory, ten times on the way."""
        made.redis()
        arms = made.arms()
        sent, looks = 0, [Memory(0, arms.use().mib)]
        while sent < count:
            sent += load.full(arms.url, self._seconds).requests
            looks.append(Memory(sent, arms.use().mib))
            self._tell("memory", min(sent, count), count)
        return looks

    def _fill(self, redis: RedisSettings, count: int) -> None:
        done = 0

        def tell(pushed: int) -> None:
            nonlocal done
            done += pushed
            self._tell("filling Redis", done, count)

        site = sites.load(str(sites.SAMPLE))[SITE]
        asyncio.run(beacons.push(redis, beacons.pushes(site, count, time.time_ns() // 1000), tell))

    def _compare(self, what: str, less: Server, more: Server, connections: int = load.CONNECTIONS) -> Growth:
        """Compare two arms, the second with so many connections."""
        for one in (less, more):
            load.full(one.url, WARM_SECONDS)
        found: dict[int, list[Measured]] = {less.pid: [], more.pid: []}
        for number in range(self._turns):
            for one in (less, more) if number % 2 else (more, less):
                lines = connections if one is more else load.CONNECTIONS
                found[one.pid].append(measure(one, partial(load.full, one.url, self._seconds, lines)))
            self._tell(what, number + 1, self._turns)
        return Growth(what, found[less.pid], found[more.pid])


def run(turns: int, seconds: int, waiting: int, count: int, tell: Tell) -> tuple[list[Growth], list[Memory]]:
    """Measure all of it; each with Redis and arms of its own."""
    bench = Bench(turns, seconds, tell)
    with rig() as less, rig() as more:
        found = [bench.waiting(less, more, waiting)]
    for compare in (bench.sites, bench.workers):
        with rig() as made:
            found.append(compare(made))
    with rig() as made:
        return found, bench.memory(made, count)


def sites_text(more: int) -> str:
    """Return the sample's sites with `more` others behind them."""
    others = [f"  other{number}: {{method: swallow, shape: access}}\n" for number in range(more)]
    return sites.SAMPLE.read_text(encoding="utf-8") + "".join(others)
