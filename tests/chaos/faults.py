"""The faults: a table of kinds, each with its length and what it does to the stage; and the plan that a seed makes."""

import asyncio
import glob
import os
import random
import shutil
import signal
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from tests.chaos.stage import DATASET, DRAINS, Stage
from tests.chaos.trouble import PROXY_DEEDS, Deed
from tests.chaos.wire import State

STOP_SECONDS = 10.0
HANG_SECONDS = 12.0  # longer than an append waits for its answer
QUIET_BEACONS = 30
FAKETIME = "/usr/lib/*/faketime/libfaketime.so.1"


class Strike(Protocol):
    """Does a fault, for `seconds`, and returns when it is over."""

    def __call__(self, stage: Stage, rng: random.Random, seconds: float) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault; `needs` names a part of this machine without which it is skipped."""

    name: str
    seconds: float
    strike: Strike
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a plan, with a seed of its own."""

    number: int
    kind: Kind
    seed: str


def plan(kinds: Sequence[Kind], count: int, seed: int) -> list[Fault]:
    """Return `count` faults: each kind once while there is room, the rest at random, all in a random order."""
    rng = random.Random(seed)
    chosen = rng.sample(kinds, min(count, len(kinds)))
    chosen += rng.choices(kinds, k=count - len(chosen))
    rng.shuffle(chosen)
    return [Fault(number, kind, f"{seed}:{number}") for number, kind in enumerate(chosen, 1)]


def lacking(kinds: Iterable[Kind], may_mount: bool) -> dict[str, str]:
    """Return for each part that kinds need and this machine lacks what to do about it."""
    there = {"tmpfs": may_mount, "faketime": bool(glob.glob(FAKETIME))}
    remedies = {"tmpfs": "mounting a tmpfs needs root", "faketime": "apt-get install faketime"}
    return {kind.needs: remedies[kind.needs] for kind in kinds if kind.needs and not there[kind.needs]}


# --- processes


async def kill(stage: Stage, rng: random.Random, seconds: float, *, name: str, number: int) -> None:
    """Signal a process once; the orchestrator starts it again."""
    stage.children[_one(name, rng)].signal(number)
    await asyncio.sleep(seconds)


async def stop(stage: Stage, rng: random.Random, seconds: float, *, name: str) -> None:
    """Stop a process as a hanging machine does, and let it go on as if no time had passed."""
    child = stage.children[_one(name, rng)]
    child.signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    child.signal(signal.SIGCONT)


async def kill_worker(stage: Stage, rng: random.Random, seconds: float, *, number: int) -> None:
    """Signal one of arms' workers; its master starts another."""
    _signal_worker(stage, rng, number)
    await asyncio.sleep(seconds)


async def stop_worker(stage: Stage, rng: random.Random, seconds: float) -> None:
    """Stop one of arms' workers for a while."""
    pid = _signal_worker(stage, rng, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    if pid in stage.arms.workers():
        os.kill(pid, signal.SIGCONT)


async def kill_redis(stage: Stage, _rng: random.Random, seconds: float, *, number: int) -> None:
    """End Redis, and start it on its append-only file when the time is over."""
    child = stage.children["redis"]
    child.held = True
    child.signal(number)
    await asyncio.sleep(seconds)
    child.held = False


async def clock_off(stage: Stage, rng: random.Random, seconds: float) -> None:
    """Let one r2bq believe that it is two minutes earlier or later, and start it anew with the right time."""
    child = stage.children[rng.choice(DRAINS)]
    child.extra = {
        "LD_PRELOAD": glob.glob(FAKETIME)[0],
        "FAKETIME": rng.choice(("+120s", "-120s")),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    child.signal(signal.SIGTERM)
    await asyncio.sleep(seconds)
    child.extra = {}
    child.signal(signal.SIGTERM)


# --- full disks and memory


async def redis_full(stage: Stage, _rng: random.Random, seconds: float) -> None:
    """Leave Redis no byte for another push."""
    client = stage.redis()
    before = client.config_get("maxmemory")["maxmemory"]
    client.config_set("maxmemory", client.info("memory")["used_memory"])
    await asyncio.sleep(seconds)
    client.config_set("maxmemory", before)


async def journal_full(stage: Stage, rng: random.Random, seconds: float) -> None:
    """Fill the journal's disk while Redis is away, with a worker that must make its segment anew."""
    ballast = stage.journal / "ballast"
    _fill(ballast)
    stage.set_wires("arms-redis", "cut")
    _signal_worker(stage, rng, signal.SIGKILL)
    await asyncio.sleep(seconds)
    ballast.unlink()
    stage.set_wires("arms-redis", "whole")


# --- wires and proxies


async def cut(stage: Stage, rng: random.Random, seconds: float, *, between: Sequence[str], state: State) -> None:
    """Let the wires of one of some pairs, or of all of them, be cut, silent or deaf."""
    chosen = [rng.choice(between)] if rng.random() < 0.7 else between
    for name in chosen:
        stage.set_wires(name, state)
    await asyncio.sleep(seconds)
    for name in chosen:
        stage.set_wires(name, "whole")


async def grpc_trouble(stage: Stage, rng: random.Random, seconds: float, *, deed: Deed, chance: float = 1.0) -> None:
    """Let the proxy before the Storage API do this to the requests."""
    stage.grpc.trouble.begin(deed, chance if chance < 1 else rng.choice((0.5, 1.0)))
    await asyncio.sleep(seconds)
    stage.grpc.trouble.end()


async def rest_trouble(stage: Stage, rng: random.Random, seconds: float, *, deed: Deed) -> None:
    """Let the proxy before the REST API do this to the requests."""
    stage.rest.begin(deed, rng.choice((0.5, 1.0)))
    await asyncio.sleep(seconds)
    stage.rest.end()


# --- two at once, where one alone would hardly meet the other's moment


async def kill_drain_amid_trouble(stage: Stage, rng: random.Random, seconds: float) -> None:
    """Kill an r2bq whose appends are under way, written without an answer, or on streams that are forgotten."""
    stage.grpc.trouble.begin(rng.choice((Deed.HANG, Deed.CUT_AFTER, Deed.FORGET)), 0.5)
    await asyncio.sleep(seconds / 2)
    stage.children[rng.choice(DRAINS)].signal(signal.SIGKILL)
    await asyncio.sleep(seconds / 2)
    stage.grpc.trouble.end()


async def kill_arms_without_redis(stage: Stage, rng: random.Random, seconds: float) -> None:
    """Kill arms, or a worker, while its pushes go unanswered: its journal is taken over, and some of it is stored."""
    states: tuple[State, ...] = ("cut", "silent", "deaf")
    stage.set_wires("arms-redis", rng.choice(states))
    await asyncio.sleep(seconds / 2)
    if rng.random() < 0.5:
        stage.arms.signal(signal.SIGKILL)
    else:
        _signal_worker(stage, rng, signal.SIGKILL)
    await asyncio.sleep(seconds / 2)
    stage.set_wires("arms-redis", "whole")


async def look_up_amid_trouble(stage: Stage, rng: random.Random, seconds: float) -> None:
    """Forget streams while the REST API, by which rows are then looked up, is in trouble."""
    stage.grpc.trouble.begin(Deed.FORGET, 0.3)
    stage.rest.begin(rng.choice(PROXY_DEEDS), 0.7)
    await asyncio.sleep(seconds)
    stage.grpc.trouble.end()
    stage.rest.end()


# --- tables


async def drop_empty(stage: Stage, _rng: random.Random, seconds: float) -> None:
    """Drop the table of a site that has heard nothing yet, and send it beacons."""
    site = next(stage.quiet)
    await asyncio.to_thread(stage.bigquery.delete_table, f"local.{DATASET}.{site}")
    stage.load.send_to(site, QUIET_BEACONS)
    await asyncio.sleep(seconds)


async def drop_filled(stage: Stage, rng: random.Random, seconds: float) -> None:
    """Drop a filled table, its rows copied aside while the proxy holds all writes."""
    site = rng.choice(("shop", "news", "form", "link"))
    table, aside = f"{DATASET}.{site}", f"{DATASET}.aside{len(stage.asides)}"
    await stage.grpc.hold()
    try:
        await asyncio.to_thread(stage.query, f"CREATE TABLE `{aside}` AS SELECT * FROM `{table}`")
        stage.asides.append((aside, table))
        await asyncio.to_thread(stage.bigquery.delete_table, f"local.{table}")
    finally:
        stage.grpc.release()
    await asyncio.sleep(seconds)


def _one(name: str, rng: random.Random) -> str:
    return rng.choice(DRAINS) if name == "r2bq" else name


def _signal_worker(stage: Stage, rng: random.Random, number: int) -> int:
    workers = sorted(stage.arms.workers())
    if not workers:
        return 0
    pid = rng.choice(workers)
    with suppress(ProcessLookupError):  # it has just ended by itself
        os.kill(pid, number)
    return pid


def _fill(file: Path) -> None:
    """Fill the disk that `file` is on; of a disk that is not our small one nothing is taken."""
    free = shutil.disk_usage(file.parent).free
    assert free < 1 << 30, "this is not the small disk of the tests"
    with file.open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, free)


def _processes() -> list[Kind]:
    kinds = []
    for number in (signal.SIGKILL, signal.SIGTERM):
        label = number.name
        kinds.append(Kind(f"{label} arms' worker", 1, partial(kill_worker, number=number)))
        kinds.append(Kind(f"{label} arms' master", 2, partial(kill, name="arms", number=number)))
        kinds.append(Kind(f"{label} r2bq", 1, partial(kill, name="r2bq", number=number)))
        kinds.append(Kind(f"{label} table_manager", 1, partial(kill, name="table_manager", number=number)))
        kinds.append(Kind(f"{label} revelation", 1, partial(kill, name="revelation", number=number)))
        kinds.append(Kind(f"{label} Redis", 2, partial(kill_redis, number=number)))
    kinds.append(Kind("SIGSTOP arms' worker", STOP_SECONDS, stop_worker))
    stopped = {"arms": "arms' master", "r2bq": "r2bq", "table_manager": "table_manager", "redis": "Redis"}
    stopped["revelation"] = "revelation"
    for name, label in stopped.items():
        kinds.append(Kind(f"SIGSTOP {label}", STOP_SECONDS, partial(stop, name=name)))
    return kinds


def _wires() -> list[Kind]:
    pairs: dict[str, tuple[str, ...]] = {
        "clients and arms": ("clients-arms",),
        "arms and Redis": ("arms-redis",),
        "r2bq and Redis": tuple(f"{name}-redis" for name in DRAINS),
        "r2bq and BigQuery": tuple(f"{name}-bigquery" for name in DRAINS),
        "table_manager and BigQuery": ("table_manager-bigquery",),
        "revelation and Redis": ("revelation-redis",),
    }
    states: dict[State, tuple[str, float]] = {"cut": ("cut", 3), "silent": ("silent", 4), "deaf": ("answers lost", 3)}
    return [
        Kind(f"{label}: {pair}", seconds, partial(cut, between=wires, state=state))
        for state, (label, seconds) in states.items()
        for pair, wires in pairs.items()
    ]


def _proxies() -> list[Kind]:
    kinds = []
    for deed in PROXY_DEEDS:
        seconds = HANG_SECONDS if deed is Deed.HANG else 3.0
        kinds.append(Kind(f"gRPC {deed}", seconds, partial(grpc_trouble, deed=deed)))
        kinds.append(Kind(f"REST {deed}", min(seconds, 5.0), partial(rest_trouble, deed=deed)))
    kinds.append(Kind("gRPC rows refused", 2, partial(grpc_trouble, deed=Deed.BAD_ROWS, chance=0.3)))
    kinds.append(Kind("gRPC stream forgotten", 2, partial(grpc_trouble, deed=Deed.FORGET, chance=0.3)))
    return kinds


KINDS: tuple[Kind, ...] = (
    *_processes(),
    Kind("Redis full", 4, redis_full),
    Kind("journal's disk full", 4, journal_full, needs="tmpfs"),
    *_wires(),
    *_proxies(),
    Kind("SIGKILL r2bq amid gRPC trouble", 4, kill_drain_amid_trouble),
    Kind("SIGKILL arms while Redis is away", 4, kill_arms_without_redis),
    Kind("gRPC stream forgotten, REST in trouble", 4, look_up_amid_trouble),
    Kind("r2bq two minutes off", 10, clock_off, needs="faketime"),
    Kind("empty table dropped", 2, drop_empty),
    Kind("filled table dropped", 2, drop_filled),
)
