"""The actors: collectors (arms) and drainers (r2bq) as the product builds them, each in a simulated process.

A collector is the real Gather, Store, Journal and Pusher, with visitors who send beacons; a drainer is the real Crew
with its Drains. Only what is outside of them is not real: threads, the loop, the clock, the wire and BigQuery.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from arms.gather import Gather, NotStoredError
from arms.journal import Journal
from arms.store import Store
from oceanus import records, spool, worker
from r2bq.crew import Crew
from r2bq.source import Source
from r2bq.standing import Warehouse
from tests.model.scheduler import Loop, Pool, Process
from tests.model.wire import AsyncWire, Wire

if TYPE_CHECKING:
    from tests.model.world import Beacon, World

PUSH_SECONDS, REDIS_SECONDS = 0.5, 1.0
MEND_SECONDS, IDLE_SECONDS, GRACE_SECONDS = 0.5, 0.25, 5.0
VISITORS = 3
JOURNAL_BYTES, SEGMENT_BYTES = 256 * 1024, 16 * 1024


class Collector:
    """An arms process, as arms/wsgi.py puts it together."""

    def __init__(self, world: "World", process: Process) -> None:
        self._world = world
        self._process = process
        self._loop = Loop(world.scheduler, process)
        wire = Wire(world.server, world.network, world.scheduler, process, PUSH_SECONDS)
        self.journal = Journal(world.folder, process.name, JOURNAL_BYTES, SEGMENT_BYTES)
        self._pusher = world.mutation.pusher(AsyncWire(wire), "arms", 1)
        process.at_death = self._die

    def run(self) -> None:
        """Run until told to stop."""
        self._loop.run_until_complete(self._run())
        self._die()

    async def _run(self) -> None:
        self._store = Store(self._pusher, self.journal, PUSH_SECONDS)
        self._gather = Gather(self._store)
        mending = asyncio.create_task(self._mend())
        await asyncio.gather(*(self._visit() for _ in range(VISITORS)))
        await mending

    async def _mend(self) -> None:
        while not self._process.is_told_to_stop:
            await self._store.mend()
            await asyncio.sleep(MEND_SECONDS)

    async def _visit(self) -> None:
        """Send beacons now and then: a page view, or a few at once."""
        chance = self._world.chance
        while not self._process.is_told_to_stop:
            await asyncio.sleep(chance.expovariate(1.5))
            beacons = self._world.again()
            if not self._world.is_closing:
                beacons += [self._world.beacon() for _ in range(chance.randint(1, 6))]
            await asyncio.gather(*map(self._send, beacons))

    async def _send(self, beacon: "Beacon") -> None:
        """Send one beacon, and note its answer; where arms is killed there is none, and it may be stored or not."""
        try:
            await self._gather.store(
                beacon.site,
                beacon.source,
                beacon.text,
                minute=records.minute(beacon.dt),
                digest=records.digest(beacon.eid),
                received_ms=beacon.received_us // 1000,
                named=beacon.is_named,
            )
        except NotStoredError:
            self._world.answered(beacon, is_stored=False)
        else:
            self._world.answered(beacon, is_stored=True)

    def _die(self) -> None:
        """Close the journal's files, as the operating system does: their locks are free, and others take them over."""
        for segment in self.journal._held():
            with suppress(OSError):
                segment.close()
        self.journal.waiting, self.journal._current = [], None
        self._loop.bury()


class Drainer:
    """An r2bq process, as r2bq/__main__.py puts it together."""

    def __init__(self, world: "World", process: Process) -> None:
        self._world = world
        self._process = process
        scheduler = world.scheduler
        redis = world.mutation.spool(Wire(world.server, world.network, scheduler, process, REDIS_SECONDS))
        line = world.mutation.line(world.bigquery, world.network)
        patience = Pool(scheduler, process)
        drains = [
            world.mutation.drain(
                Source(site, source, world.naming),
                redis,
                Warehouse(line, line, line),
                new_writer=self._new_writer,
                patience=patience,
                max_bytes=world.max_bytes,
                clock=self._clock,
                now_us=world.now_us,
            )
            for site in world.sites
            for source in spool.LISTS
        ]
        self._crew = Crew(drains, redis, 1, clock=self._clock, now_us=world.now_us)
        self._crew._pool = Pool(scheduler, process)

    def run(self) -> None:
        """Run until told to stop."""
        worker.loop(self._crew.step, _Stop(self._world, self._process), IDLE_SECONDS)
        self._crew.stop(GRACE_SECONDS)
        self._process.is_dead = True  # as os._exit does

    def _clock(self) -> float:
        return self._world.scheduler.now

    def _new_writer(self) -> str:
        name = f"{self._process.name}-{len(self._process.names) + 1}"
        self._process.names.add(name)
        return name


class _Stop:
    """Whether a process was told to stop; stands for oceanus.worker.Stop."""

    def __init__(self, world: "World", process: Process) -> None:
        self._scheduler = world.scheduler
        self._process = process

    def wait(self, seconds: float) -> bool:
        """Wait for it."""
        self._scheduler.wait(seconds, lambda: self._process.is_told_to_stop)
        return bool(self)

    def __bool__(self) -> bool:
        return self._process.is_told_to_stop


ACTORS: dict[str, Callable[["World", Process], "Collector | Drainer"]] = {"arms": Collector, "r2bq": Drainer}
