"""A running arms under hostile requests: what it answered, what it held, and what it let through."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from statistics import median

from arms import kept
from arms.checks import Checks
from oceanus import records, sites, tables
from oceanus.tables import Naming
from tests.arms.serving import Server
from tests.conftest import RedisProcess
from tests.fuzz.requests import Hostile, Maker

CALLERS = 16
ANSWER_SECONDS = 20
LOOKS = 40  # at the workers' memory
# What memory may grow by in the second half. In a few seconds caches still fill, and each connection is kept for 3 s.
SLACK_BYTES, SHORT_SLACK_BYTES, LONG = 4_000_000, 25_000_000, 50_000


@dataclass
class Told:
    """What was seen: answers by status (0: none), requests whose answer is missing or wrong, memory in bytes."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def growth(self) -> float:
        """Return by how many bytes the memory grew within the second half, by the medians of its two halves."""
        second = self.memory[len(self.memory) // 2 :]
        return median(second[len(second) // 2 :]) - median(second[: len(second) // 2])


def attack(server: Server, maker: Maker, requests: int) -> Told:
    """Send so many hostile requests by several callers at once."""
    told = Told()
    begun = time.monotonic()
    asyncio.run(_attack(server, maker, requests, told))
    told.seconds = time.monotonic() - begun
    return told


async def _attack(server: Server, maker: Maker, requests: int, told: Told) -> None:
    left = requests

    async def call() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            if left % max(1, requests // LOOKS) == 0:
                told.memory.append(server.memory())
            await _one(server.port, maker.next(), told)

    await asyncio.gather(*(call() for _ in range(CALLERS)))


async def _one(port: int, request: Hostile, told: Told) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request.sent)
        if not request.whole:
            writer.write_eof()  # nothing more comes: it need not wait for the rest
        async with asyncio.timeout(ANSWER_SECONDS):
            line = await reader.readline()
    except TimeoutError:
        line = b"(nothing came)"
    except OSError:  # cut off in the middle of what it does not want to read
        line = b""
    finally:
        writer.transport.abort()
    words = line.split(b" ")
    status = int(words[1]) if line.startswith(b"HTTP/1.1 ") and words[1].isdigit() else 0
    told.statuses[status] += 1
    # The queues are not drained here, so that /rstatus says 503; no beacon is answered so while Redis is there.
    deliberate = status == 503 and b"/rstatus" in request.sent[:200]
    if (status >= 500 and not deliberate) or (not status and (line or request.whole)):
        told.wrong.append(f"{line!r} to {request.sent[:300]!r}")


def let_through(redis: RedisProcess) -> Counter[str]:
    """Return how many records each list has, after each was held against its site's rules and its table."""
    every = sites.load(str(sites.SAMPLE))
    client, counted = redis.client(), Counter[str]()
    for site in every.values():
        checks, declared = Checks(site.fields), {one.name for one in site.fields}
        for source in ("queue", "resends", "alerts"):
            for raw in client.lrange(f"oceanus:{{{site.name}}}:{source}", 0, -1):
                record = records.decode(raw)
                table = Naming("d").table(site, record["dt"])
                _, errors = checks.by_cerberus({name: value for name, value in record.items() if name in declared})
                assert errors == {}, (site.name, errors, raw[:500])
                assert tables.undeclared(table, record) == set()
                tables.row(table, record)
                assert records.is_id(record["eid"])
                counted[source] += 1
        for raw in client.lrange(f"oceanus:{{{site.name}}}:failed", 0, -1):
            failed = records.decode(raw, "fid")
            assert (failed["site"], failed["stage"]) == (site.name, "rules")
            assert len(failed["raw"].encode()) <= kept.BYTES or failed["reason"].startswith("counted:")
            tables.row(Naming("d").failed, failed)
            counted["failed"] += 1
    return counted
