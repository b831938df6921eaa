"""A site moves from one Redis to another under load, as docs/redis.md says: nothing is missing, nothing doubled."""

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from management import audit, parts, status
from management.audit import Found
from oceanus import sites
from oceanus.auditor import Auditor
from oceanus.errors import MisconfiguredError
from oceanus.settings import RedisSettings, read
from oceanus.shards import Spools, shards
from oceanus.spool import Look
from oceanus.tables import Naming
from oceanus.warehouse import Queries, Writer
from tests.conftest import RedisProcess, Warehouse, absent, end, until

SITE = "bizocean"
SAMPLE = sites.load(str(sites.SAMPLE))
BEACON = f"/swallow/{SITE}?oid=2&evt=e&sid=86895a04e5a59600&url=https%3A%2F%2Fshop.example%2F&uid="


class Deployment:
    """Three Redis, one of them the default, and the processes on them, started and stopped as a roll-out would."""

    def __init__(self, folder: Path, stores: list[RedisProcess], warehouse: Warehouse) -> None:
        self.folder, self.warehouse = folder, warehouse
        self.default, self.old, self.new = stores
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, int] = {}
        (folder / "journal").mkdir()

    def environ(self, placed: str) -> dict[str, str]:
        """Return what every process is given; `placed` is REDIS_SHARDS, with names in place of addresses."""
        for name in ("old", "new"):
            placed = placed.replace(name, f"127.0.0.1:{getattr(self, name).port}")
        own = {"SITES_FILE": str(sites.SAMPLE), "JOURNAL_DIR": str(self.folder / "journal"), "REDIS_SHARDS": placed}
        own |= {"LISTEN_ADDRESS": "127.0.0.1", "LOG_LEVEL": "INFO", "PATH": os.environ["PATH"]}
        return self.warehouse.environ | self.default.environ | own

    def start(self, name: str, placed: str, *words: str) -> "subprocess.Popen[bytes]":
        """Start a process; `name` is arms or r2bq with a number behind it."""
        port = self.ports[name] = parts.free_port()
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", name.rstrip("0123456789"), *words]
            environ = self.environ(placed) | {"PORT": str(port)}
            self.running[name] = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        return self.running[name]

    def started(self, name: str, placed: str) -> None:
        """Start a process and wait until it is ready."""
        process = self.start(name, placed)

        def is_ready() -> bool:
            assert process.poll() is None, (self.folder / f"{name}.log").read_text(encoding="utf-8")
            return self.answers(name, "/lb" if name.startswith("arms") else "/hc") == 200

        until(is_ready, 120)

    def stop(self, name: str) -> None:
        """Stop a process, which ends well."""
        process = self.running.pop(name)
        process.terminate()
        assert process.wait(60) == 0

    def answers(self, name: str, path: str) -> int:
        """Return the status of an answer; 0 where there is none."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=10).status_code
        except httpx.HTTPError:
            return 0

    def journalled(self, address: str) -> bytes:
        """Return what journals hold for a Redis."""
        segments = (self.folder / "journal" / address).glob("*.journal")
        return b"".join(one.read_bytes().rstrip(b"\0") for one in segments)

    def spools(self, placed: str) -> Spools:
        """Return what an operator's command would look with."""
        return Spools.connected(shards(read(RedisSettings, self.environ(placed)), SAMPLE))

    def audit(self, placed: str, *, acknowledge: bool = False) -> Found:
        """Return what `oceanus audit` finds."""
        spools, naming = self.spools(placed), Naming(self.warehouse.settings.dataset)
        clients = self.warehouse.clients
        queries = Queries(clients, self.warehouse.settings.dataset)
        auditor = Auditor(spools, queries, Writer(clients), naming)
        found = audit.find(auditor, spools, SAMPLE, audit.last_days(None), None)
        if acknowledge:
            auditor.acknowledge(found.alarms)
        auditor.write()
        return found

    def told(self, placed: str) -> list[str]:
        """Return what `oceanus status` says about sites that have moved."""
        spools = self.spools(placed)
        return status.moving_lines({SITE: spools.looks(SITE)}, spools)


class Load:
    """Sends beacons to those arms that are named in `to`, each once, and remembers which were accepted."""

    def __init__(self, deployment: Deployment, first: int = 1) -> None:
        self._deployment, self._number = deployment, first
        self.to: tuple[str, ...] = ()
        self.accepted: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def more(self, count: int) -> None:
        """Return when so many more are accepted."""
        enough = len(self.accepted) + count
        until(lambda: len(self.accepted) >= enough)

    def _run(self) -> None:
        while not self._over.wait(0.005):
            for name in self.to:
                self._number += 1
                if self._deployment.answers(name, f"{BEACON}{self._number}") == 200:
                    self.accepted.append(str(self._number))


@pytest.fixture
def deployment(tmp_path: Path, warehouse: Warehouse) -> Iterator[Deployment]:
    """Three Redis and a warehouse with its tables."""
    try:
        parts.find_redis()
    except MisconfiguredError as exc:
        absent(str(exc))
    stores = []
    try:
        for name in ("default", "old", "new"):
            (tmp_path / name).mkdir()
            stores.append(RedisProcess(tmp_path / name))
        made = Deployment(tmp_path, stores, warehouse)
        assert made.start("table_manager", "", "--once").wait(120) == 0
        made.running.clear()
        yield made
        for process in made.running.values():
            end(process, 60)
    finally:
        for store in stores:
            end(store.process)


def test_a_site_moves_under_load_and_nothing_is_missing_or_doubled(deployment: Deployment) -> None:
    """The steps of docs/redis.md: all learn of the new Redis, then arms pushes there, then the old one ends."""
    before, learnt, moved, after = f"{SITE}=old", f"{SITE}=old,new", f"{SITE}=new,old", f"{SITE}=new"
    deployment.started("r2bq1", before)
    deployment.started("arms1", before)
    found = {}
    with Load(deployment) as load:
        load.to = ("arms1",)
        load.more(20)
        found["before"] = deployment.audit(before)

        deployment.started("r2bq2", learnt)
        deployment.stop("r2bq1")
        load.more(20)
        deployment.old.kill()  # arms' journal now holds beacons of the site for its old Redis
        load.more(20)
        deployment.started("arms2", moved)
        load.to = ("arms1", "arms2")
        load.more(20)
        until(lambda: deployment.spools(after).ledger(SITE).whole.settled > 0)  # r2bq does not wait for the old one
        deployment.old.start()
        load.more(20)
        found["while"] = deployment.audit(moved)
        load.to = ("arms2",)
        deployment.stop("arms1")
        load.more(20)
    old = f"127.0.0.1:{deployment.old.port}"
    until(lambda: not deployment.journalled(old))
    until(lambda: deployment.told(moved) == [f"{old}: no site lives there, and nothing waits there for r2bq"])
    until(lambda: _waiting(deployment.spools(moved).look(SITE)) == 0)
    found["moved"] = deployment.audit(moved)

    deployment.old.kill()
    deployment.started("r2bq3", after)
    deployment.stop("r2bq2")
    with Load(deployment, 10**6) as load_after:
        load_after.to = ("arms2",)
        load_after.more(20)
    accepted = load.accepted + load_after.accepted
    until(lambda: _waiting(deployment.spools(after).look(SITE)) == 0)
    alarmed = deployment.audit(after, acknowledge=True)
    found["after"] = deployment.audit(after)

    rows = Counter(str(uid) for (uid,) in deployment.warehouse.rows(f"SELECT uid FROM {SITE}"))
    assert rows == Counter(accepted)
    assert found["moved"].sites[SITE].landed == len(load.accepted)
    assert {name: _judged(one) for name, one in found.items()} == dict.fromkeys(found, (0, 0, [], []))
    assert [one.sentence.partition(" is ")[0] for one in alarmed.alarms] == [old]


def _judged(found: Found) -> tuple[int, int, list[str], list[str]]:
    one = found.sites[SITE]
    return one.missing, one.doubled, one.troubles, [alarm.sentence for alarm in found.alarms]


def _waiting(look: Look) -> int:
    return look.queue + look.claimed
