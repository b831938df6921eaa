"""The long outage: BigQuery is away while records arrive, and comes back while more do.

Real Redis, r2bq and local BigQuery; the records are made directly through the spool, by the script that arms uses.
"""

import asyncio
import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from management import parts
from oceanus import records, settings, sites, warehouse
from oceanus.pushes import Push
from oceanus.settings import RedisSettings, WarehouseSettings
from oceanus.spool import Pusher, Spool, connect, connect_pusher
from tests.chaos.children import Child, Children
from tests.chaos.wire import Wire

SITE, DATASET = "bizocean", "outage"
FLIGHT = 2000  # records in one push, as arms' largest
ARRIVE_A_SECOND = 300  # that go on while it catches up
LOOK_SECONDS = 1.0
START_SECONDS = 120
STILL_SECONDS = 120  # without a record landed: it is stuck


@dataclass
class Outcome:
    """What came of it. Memory is r2bq's resident set, in MB; `bytes_a_record` are Redis' own, `disk` of its file."""

    accepted: int = 0
    rows: int = 0
    ids: int = 0
    bytes_a_record: float = 0.0
    disk_a_record: float = 0.0
    text_bytes: float = 0.0
    seconds: float = 0.0
    rows_a_second: float = 0.0
    memory_mb: list[float] = field(default_factory=list)
    audit_exit: int = -1

    @property
    def grown_mb(self) -> float:
        """Return how much more memory r2bq held at most than when the first tenth had landed."""
        settled = self.memory_mb[: max(1, len(self.memory_mb) // 10)]
        return max(self.memory_mb) - max(settled)

    @property
    def is_good(self) -> bool:
        """Say whether everything landed once, the audit agrees, memory stayed flat and it caught up."""
        landed = self.accepted == self.rows == self.ids and self.audit_exit == 0
        return landed and self.grown_mb < 100 and self.rows_a_second > ARRIVE_A_SECOND

    def line(self) -> str:
        """Return all of it as one line."""
        return (
            f"records={self.accepted} landed={self.ids} missing={self.accepted - self.ids}"
            f" doubled={self.rows - self.ids} audit={'agrees' if self.audit_exit == 0 else 'differs'}"
            f" rows_a_second={self.rows_a_second:.0f} recovered_in={self.seconds:.0f}"
            f" r2bq_mb={self.memory_mb[0]:.0f}..{max(self.memory_mb):.0f}"
            f" text_bytes={self.text_bytes:.0f} redis_bytes={self.bytes_a_record:.0f}"
            f" disk_bytes={self.disk_a_record:.0f}"
        )


class Outage:
    """One run, in a folder of its own."""

    def __init__(self, folder: Path, count: int, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._count = count
        self._tell = tell
        self._children = Children(folder)
        self._wires: list[Wire] = []
        self._random = random.Random(1)
        self._digests = 0
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        """Run it all, and end what was started."""
        try:
            await self._start()
            await self._fill()
            await self._return()
            await asyncio.to_thread(self._count_rows)
        finally:
            for wire in self._wires:
                wire.set("whole")
            await self._children.end()
            for wire in self._wires:
                await wire.stop()
        return self.outcome

    async def _start(self) -> None:
        redis_port, rest, grpc = parts.free_port(), parts.free_port(), parts.free_port()
        for name in ("redis", "bigquery"):
            (self._folder / name).mkdir()
        redis = parts.redis_command(parts.find_redis(), self._folder / "redis", redis_port, maxmemory="16gb")
        self._children.start("redis", redis.words, redis.environ)
        bigquery = parts.bigquery_command(self._folder / "bigquery", rest, grpc, "local")
        self._children.start("bigquery", bigquery.words, bigquery.environ)
        for name, port in (("redis", redis_port), ("bigquery", rest), ("bigquery", grpc)):
            await _listens(port, self._children[name])
        self._wires = [await Wire(rest).start(), await Wire(grpc).start()]
        self._environ = _environ(redis_port, rest, grpc)
        self._spool = Spool(connect(settings.read(RedisSettings, self._environ), 60.0))
        self._redis = settings.read(RedisSettings, self._environ)
        once = await asyncio.create_subprocess_exec(sys.executable, "-m", "table_manager", "--once", env=self._environ)
        assert await once.wait() == 0
        behind = _environ(redis_port, self._wires[0].port, self._wires[1].port) | {"PORT": str(parts.free_port())}
        self._children.start("r2bq", [sys.executable, "-m", "r2bq"], behind)
        self._pusher = Pusher(connect_pusher(self._redis, 60.0), "outage", 1)
        await self._push(10)
        ends = time.monotonic() + START_SECONDS
        while await asyncio.to_thread(self._waiting):
            self._lives("r2bq")
            assert time.monotonic() < ends, f"the first records do not land; see {self._folder}"
            await asyncio.sleep(0.1)

    async def _fill(self) -> None:
        """Let BigQuery be away, and push."""
        for wire in self._wires:
            wire.set("cut")
        before, began = await asyncio.to_thread(self._used), time.monotonic()
        pushed = 0
        while pushed < self._count:
            pushed += await self._push(min(FLIGHT, self._count - pushed))
            if pushed % 500_000 == 0:
                self._tell(f"{pushed:,} records wait, {time.monotonic() - began:.0f} s")
        memory, disk = await asyncio.to_thread(self._used)
        self.outcome.bytes_a_record = (memory - before[0]) / self._count
        self.outcome.disk_a_record = (disk - before[1]) / self._count

    async def _return(self) -> None:
        """Let BigQuery come back while more arrive; then let it all land."""
        for wire in self._wires:
            wire.set("whole")
        began, drained, before = time.monotonic(), 0, self.outcome.accepted
        most, moved_at = 0, began
        r2bq = psutil.Process(self._children["r2bq"].pid)
        for look in itertools.count():
            self._lives("r2bq")
            drained = self.outcome.accepted - await asyncio.to_thread(self._waiting)
            if drained > most:
                most, moved_at = drained, time.monotonic()
            assert time.monotonic() - moved_at < STILL_SECONDS, f"nothing lands any more; see {self._folder}"
            self.outcome.memory_mb.append(r2bq.memory_info().rss / 1e6)
            if drained < before:  # until what had waited is gone
                await self._push(round(ARRIVE_A_SECOND * LOOK_SECONDS))
            if drained == self.outcome.accepted:
                break
            if look % 20 == 0:
                left = self.outcome.accepted - drained
                self._tell(
                    f"{left:,} left after {time.monotonic() - began:.0f} s, r2bq {self.outcome.memory_mb[-1]:.0f} MB"
                )
            await asyncio.sleep(LOOK_SECONDS)
        self.outcome.seconds = time.monotonic() - began
        self.outcome.rows_a_second = self._count / self.outcome.seconds

    def _count_rows(self) -> None:
        clients = warehouse.connect(settings.read(WarehouseSettings, self._environ))
        queries = warehouse.Queries(clients, DATASET)
        [(rows, ids)] = queries.select(f"SELECT COUNT(*), COUNT(DISTINCT eid) FROM {SITE}", 10**12).rows
        self.outcome.rows, self.outcome.ids = rows, ids
        audit = [sys.executable, "-m", "management", "audit", "--max-bytes", "1TB"]
        self.outcome.audit_exit = subprocess.run(audit, env=self._environ, check=False).returncode

    async def _push(self, count: int) -> int:
        texts = list(itertools.islice(self._records(), count))
        self.outcome.text_bytes = sum(map(len, texts)) / count
        now_us = time.time_ns() // 1000
        push = Push(
            site=SITE,
            source="queue",
            minute=records.minute(json.loads(texts[0])["dt"]),
            digest=self._digests,
            last_ms=now_us // 1000,
            records=texts,
        )
        self._digests = 0
        refused = await self._pusher.push([push], 60.0)
        assert refused == [None], refused
        self.outcome.accepted += count
        return count

    def _records(self) -> Iterator[bytes]:
        """Yield records like those of a page view, all of one minute."""
        now_us = time.time_ns() // 1000
        dt = records.time_text(now_us)
        while True:
            eid = records.mint(now_us)
            self._digests += records.digest(eid)
            page = self._random.randrange(10**6)
            told: dict[str, Any] = {
                "v": 1,
                "eid": eid,
                "dt": dt,
                "oid": "2",
                "sid": f"{self._random.getrandbits(64):016x}",
                "rad": f"203.0.113.{page % 250}",
                "evt": "pageview",
                "url": f"https://www.example.jp/articles/{page}",
                "ref": "https://www.example.jp/",
                "tit": f"Article {page}",
                "ua": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130.0.0.0 Safari/537.36",
                "dev": "pc",
                "enc": "UTF-8",
            }
            yield records.encode(told)

    def _used(self) -> tuple[int, int]:
        """Return the bytes that Redis holds in memory, and those of its file."""
        client = connect(self._redis, 60.0)
        info = client.info()
        client.close()
        return int(info["used_memory"]), int(info["aof_current_size"])

    def _lives(self, name: str) -> None:
        child = self._children[name]
        assert child.lives, f"{name} ended; see {child.log}"

    def _waiting(self) -> int:
        look = self._spool.look(SITE)
        return look.queue + look.claimed + look.waiting_failed


def _environ(redis_port: int, rest: int, grpc: int) -> dict[str, str]:
    return settings.environment() | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "SITES_FILE": str(sites.SAMPLE),
        "DATA_SET": DATASET,
        "PROJECT_ID": "local",
        "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{rest}",
        "BIGQUERY_STORAGE_EMULATOR_HOST": f"127.0.0.1:{grpc}",
        "REDIS_PD_SERVICE_HOST": "127.0.0.1",
        "REDIS_PD_SERVICE_PORT": str(redis_port),
        "PORT": str(parts.free_port()),
    }


async def _listens(port: int, child: Child) -> None:
    ends = time.monotonic() + START_SECONDS
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            assert child.lives, f"{child.name} ended; see {child.log}"
            assert time.monotonic() < ends, f"nothing listens on {port}"
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
