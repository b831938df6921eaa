"""The stage: everything that runs, with a wire or a proxy between each pair, in one temporary folder.

clients - wire - arms - wire - Redis - wire each - r2bq - two wires each - proxies - local BigQuery
                                                   table_manager - wire - proxy -'
"""

import asyncio
import json
import random
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from management import parts, status
from oceanus import records, settings, sites
from oceanus.errors import SpoolError
from oceanus.settings import RedisSettings
from oceanus.sites import Sites
from oceanus.spool import Look, Spool, connect
from oceanus.tables import Naming
from tests.chaos import beacons
from tests.chaos.children import Child, Children
from tests.chaos.load import Load
from tests.chaos.proxy_grpc import GrpcProxy
from tests.chaos.proxy_http import HttpProxy
from tests.chaos.wire import State, Wire

DATASET = "chaos"
DRAINS = ("r2bq0", "r2bq1")
JOURNAL_MB = 96  # six segments: two workers, and what dead ones left
CALM_SECONDS = 3.0  # the oldest record of a steady load is younger, where the local BigQuery takes no time at all
START_SECONDS = 120
_TOLD = re.compile(r"told (\d+)\.")


class Stage:
    """Starts it all; the faults reach in through its members."""

    def __init__(self, folder: Path, seed: int, rate: float, quiet: int, tmpfs: bool) -> None:
        self.folder = folder
        self.children = Children(folder)
        self._random = random.Random(seed)
        self._rate = rate
        self._tmpfs = tmpfs
        self.journal = folder / "journal"
        self.sites_file = folder / "sites.yaml"
        self.sites_file.write_text(beacons.sites_yaml(quiet), encoding="utf-8")
        self.alerts_file = folder / "alerts.yaml"
        self.alerts_file.write_text(beacons.ALERTS, encoding="utf-8")
        self.sites: Sites = sites.load(str(self.sites_file))
        self.naming = Naming(DATASET, "")
        self._wires: dict[str, list[Wire]] = {}
        self.asides: list[tuple[str, str]] = []  # a copy, and the table whose rows it holds
        self.quiet = iter([f"{beacons.QUIET}{number}" for number in range(quiet)])

    async def start(self) -> None:
        """Start everything, in the order in which it is needed, and then the load."""
        self.mount()
        redis_port = await self._start_redis()
        rest_port, grpc_port = await self._start_bigquery()
        self.rest = HttpProxy(rest_port, self._random).start()
        self.grpc = await GrpcProxy(grpc_port, self._random).start()
        self.direct = _environ(redis_port, f"http://127.0.0.1:{rest_port}", f"127.0.0.1:{grpc_port}", self.sites_file)
        self.bigquery = _client(rest_port)
        self.spool = Spool(connect(settings.read(RedisSettings, self.direct), 2.0))
        await self._start_process("table_manager", redis_port, PORT=_free(), INTERVAL_SECOND="2")
        await _until(self._tables_stand, START_SECONDS)
        for name in DRAINS:
            await self._start_drain(name, redis_port)
        await self._start_revelation(redis_port)
        await self._start_arms(redis_port)
        self.children.keep()
        self.load = Load((await self._wire("clients-arms", self.arms_port)).port, self._rate)
        self.load.start()

    async def end(self) -> None:
        """End everything that was started, whatever state it is in."""
        if hasattr(self, "load"):
            await self.load.stop()
        for pair in self._wires:
            self.set_wires(pair, "whole")
        await self.children.end()
        for wires in self._wires.values():
            await asyncio.gather(*(wire.stop() for wire in wires))
        if hasattr(self, "grpc"):
            await self.grpc.stop()
        if hasattr(self, "rest"):
            self.rest.stop()
        self.unmount()

    # --- what the faults use

    @property
    def arms(self) -> Child:
        """Return arms' master."""
        return self.children["arms"]

    def set_wires(self, pair: str, state: State) -> None:
        """Change what the wires between two do."""
        for wire in self._wires[pair]:
            wire.set(state)

    def redis(self) -> "redis.Redis":
        """Return a plain client to Redis itself, past all wires."""
        return redis.Redis(port=int(self.direct["REDIS_PD_SERVICE_PORT"]), socket_timeout=5)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return what the local BigQuery answers, past the proxy."""
        return [tuple(row.values()) for row in self.bigquery.query_and_wait(sql)]

    def tables_of(self, site: str) -> list[str]:
        """Return the paths of a site's tables as they stand."""
        form = self.sites[site].table
        names = [one.table_id for one in self.bigquery.list_tables(DATASET)]
        return [f"{DATASET}.{name}" for name in names if name == form.name or name.startswith(f"{form.name}_")]

    def mount(self) -> None:
        """Make the journal's folder, on a small disk of its own where one may be mounted."""
        self.journal.mkdir()
        if self._tmpfs:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={JOURNAL_MB}m", "tmpfs", str(self.journal)], check=True
            )

    def unmount(self) -> None:
        """Take that disk away."""
        if self._tmpfs:
            subprocess.run(["umount", "-l", str(self.journal)], check=False)

    # --- how it goes

    def is_calm(self) -> bool:
        """Say whether beacons are accepted and nothing waits any longer than under a steady load."""
        serves = time.monotonic() - self.load.accepted_at < 1.0
        calm = CALM_SECONDS + 2 * self.append_seconds()  # that of the batch before, and its own
        return serves and self._oldest() < calm and not self.journalled()

    def append_seconds(self) -> float:
        """Return how long the local BigQuery itself takes at present: on a busy machine some seconds."""
        return self.grpc.slowest(10.0)

    def is_empty(self) -> bool:
        """Say whether nothing at all waits anywhere."""
        try:
            unseen = self.spool.backlogs([("link", "alerts")])[0].length
            waiting = any(status.waiting(self.spool.look(site)) for site in self.sites)
            return not (unseen or waiting or self.journalled())
        except SpoolError:
            return False

    def journalled(self) -> int:
        """Return how many beacons are in arms' journals; where arms does not say, that is not none."""
        told = status.ask_arms(f"http://127.0.0.1:{self.arms_port}/metrics")
        return 1 if told is None else told.records

    def waits(self) -> dict[str, str]:
        """Return what waits by site, for a person to read."""
        told = {site: self.spool.look(site) for site in self.sites}
        return {
            site: f"queue {look.queue}, claimed {look.claimed}, failed {look.waiting_failed}"
            for site, look in told.items()
            if status.waiting(look)
        }

    def _oldest(self) -> float:
        """Return the age of the oldest record in any queue or claim, in seconds; resends wait a minute by design."""
        try:
            looks = [self.spool.look(site) for site in self.sites if site != beacons.NAMED]
            looks.append(self._named())
        except SpoolError:
            return float("inf")
        now_us = time.time_ns() // 1000
        ages = [status.site_status(look, now_us).oldest_seconds for look in looks]
        ages += [self._oldest_failed(site, now_us) for site in self.sites]
        return max((age for age in ages if age is not None), default=0.0)

    def _named(self) -> Look:
        """Return the queue of the site whose trackers send again."""
        [queue] = self.spool.backlogs([(beacons.NAMED, "queue")])
        oldest = [queue.oldest] if queue.oldest else []
        return Look(queue=queue.length, claimed=0, waiting_failed=0, oldest=oldest, ledger={})

    def _oldest_failed(self, site: str, now_us: int) -> float | None:
        oldest = self.spool.backlogs([(site, "failed")])[0].oldest
        return (now_us - records.received_us(json.loads(oldest)["fid"])) / 1e6 if oldest else None

    # --- the end

    def audit(self) -> tuple[int, dict[str, Any]]:
        """Run `oceanus audit` past all proxies; return its exit code and what it told."""
        words = [sys.executable, "-m", "management", "audit", "--format", "json"]
        run = subprocess.run(words, env=self.direct, capture_output=True, text=True, check=False, timeout=600)
        (self.folder / "audit.json").write_text(run.stdout + run.stderr, encoding="utf-8")
        return run.returncode, json.loads(run.stdout)

    def restore(self) -> None:
        """Put the rows that were copied aside back into their tables."""
        for aside, table in self.asides:
            columns = ", ".join(f"`{one.name}`" for one in self.bigquery.get_table(f"local.{table}").schema)
            self.query(f"INSERT INTO `{table}` ({columns}) SELECT {columns} FROM `{aside}`")

    def rows(self) -> Iterator[int]:
        """Yield the id of every row, of every copy and of every failed record that had been accepted."""
        paths = [path for site in self.sites for path in self.tables_of(site)] + [aside for aside, _ in self.asides]
        for path in paths:
            for (ids,) in self.query(f"SELECT STRING_AGG(uid) FROM `{path}` GROUP BY RIGHT(eid, 2)"):
                yield from map(int, ids.split(","))
        for (raw,) in self.query(f"SELECT raw FROM `{self.naming.failed.path}` WHERE stage = 'write'"):
            yield int(json.loads(raw)["uid"])

    def untold(self) -> tuple[list[int], int]:
        """Return the beacons that revelation should have told of and has not, and how many it told more than once."""
        told = Counter(map(int, _TOLD.findall((self.folder / "revelation.log").read_text(errors="replace"))))
        landed = {int(uid) for (uid,) in self.query(f"SELECT uid FROM `{DATASET}.link`")}
        due = {one for one in landed if beacons.is_told(one)}
        return sorted(due - told.keys()), sum(count > 1 for count in told.values())

    def rows_of(self, one: int) -> list[str]:
        """Return where an id stands, for a person to read."""
        places = {path: f"uid = '{one}'" for site in self.sites for path in self.tables_of(site)}
        places[self.naming.failed.path] = f"""stage = 'write' AND raw LIKE '%"uid":"{one}"%'"""
        return [
            f"{path} eid={eid} dt={dt}"
            for path, where in places.items()
            for eid, dt in self.query(f"SELECT eid, CAST(dt AS STRING) FROM `{path}` WHERE {where}")
        ]

    # --- starting

    async def _start_redis(self) -> int:
        folder, port = self.folder / "redis", _free()
        folder.mkdir()
        command = parts.redis_command(parts.find_redis(), folder, int(port))
        await _until_port(self.children.start("redis", command.words, command.environ), port)
        return int(port)

    async def _start_bigquery(self) -> tuple[int, int]:
        rest, grpc = _free(), _free()
        command = parts.bigquery_command(self.folder / "bigquery", int(rest), int(grpc), "local")
        child = self.children.start("bigquery", command.words, command.environ)
        await _until_port(child, rest)
        await _until_port(child, grpc)
        child.held = True  # its streams do not survive it: it is no part of the promise
        return int(rest), int(grpc)

    async def _start_drain(self, name: str, redis_port: int) -> None:
        wire = await self._wire(f"{name}-redis", redis_port)
        await self._start_process("r2bq", wire.port, name, PORT=_free(), GRACE_SECONDS="10")

    async def _start_revelation(self, redis_port: int) -> None:
        wire = await self._wire("revelation-redis", redis_port)
        told = {"PORT": _free(), "ALERTS_FILE": str(self.alerts_file), "GRACE_SECONDS": "10"}
        await self._start_process("revelation", wire.port, **told)

    async def _start_arms(self, redis_port: int) -> None:
        wire = await self._wire("arms-redis", redis_port)
        self.arms_port = _free()
        told = {"PORT": self.arms_port, "WORKERS": "2", "JOURNAL_DIR": str(self.journal), "GRACE_SECONDS": "10"}
        await self._start_process("arms", wire.port, LISTEN_ADDRESS="127.0.0.1", **told)
        await _until_port(self.arms, self.arms_port)

    async def _start_process(self, process: str, redis_port: int, name: str = "", **told: str) -> None:
        """Start one of ours, with wires of its own to BigQuery."""
        name = name or process
        rest, grpc = [await self._wire(f"{name}-bigquery", port) for port in (self.rest.port, self.grpc.port)]
        environ = _environ(redis_port, f"http://127.0.0.1:{rest.port}", f"127.0.0.1:{grpc.port}", self.sites_file)
        self.children.start(name, [sys.executable, "-m", process], environ | told)

    async def _wire(self, name: str, port: int | str) -> Wire:
        wire = await Wire(int(port)).start()
        self._wires.setdefault(name, []).append(wire)
        return wire

    def _tables_stand(self) -> bool:
        try:
            standing = {one.table_id for one in self.bigquery.list_tables(DATASET)}
        except NotFound:  # the dataset is table_manager's to make
            return False
        return all(self.sites[site].table.name in standing for site in self.sites if site != "daily")


def may_mount(folder: Path) -> bool:
    """Say whether a small disk may be mounted here, by doing it."""
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    made = subprocess.run(words, check=False, capture_output=True)
    if made.returncode == 0:
        subprocess.run(["umount", str(folder)], check=False)
    return made.returncode == 0


def _environ(redis_port: int, rest: str, grpc: str, sites_file: Path) -> dict[str, str]:
    return {
        "PATH": settings.environment().get("PATH", ""),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONUNBUFFERED": "1",
        "LOG_LEVEL": "INFO",
        "SITES_FILE": str(sites_file),
        "DATA_SET": DATASET,
        "PROJECT_ID": "local",
        "BIGQUERY_EMULATOR_HOST": rest,
        "BIGQUERY_STORAGE_EMULATOR_HOST": grpc,
        "REDIS_PD_SERVICE_HOST": "127.0.0.1",
        "REDIS_PD_SERVICE_PORT": str(redis_port),
    }


def _client(port: int) -> bigquery.Client:
    options = ClientOptions(api_endpoint=f"http://127.0.0.1:{port}")
    return bigquery.Client(project="local", credentials=AnonymousCredentials(), location="US", client_options=options)


def _free() -> str:
    return str(parts.free_port())


async def _until_port(child: Child, port: str) -> None:
    def listens() -> bool:
        assert child.lives, f"{child.name} ended; see {child.log}"
        with suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), 1):
            return True
        return False

    await _until(listens, START_SECONDS)


async def _until(true: Any, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not await asyncio.to_thread(true):
        assert time.monotonic() < ends, f"{true.__name__} took longer than {seconds} s"
        await asyncio.sleep(0.1)
