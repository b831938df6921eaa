"""A machine as docs/one-machine.md sets it up, for the drills: `oceanus up` under a systemd that is played here.

The commands of the pages run as they stand. What differs here: `systemctl` starts, stops and shows one `oceanus up`,
whose socket is held here as systemd holds it; `oceanus` takes its settings from the machine's file; `bq query` asks the
local BigQuery; and the names that docs/drills/index.md sets have other values.
"""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from management import running, status
from oceanus.settings import RedisSettings, read
from oceanus.shards import Spools, shards
from tests.conftest import Warehouse, absent, until
from tests.drills import page

SITES = """\
shapes:
  visit:
    fields:
      dt: {from: clock, type: TIMESTAMP, mode: REQUIRED}
      sid: {from: query, rule: {type: string, required: true, regex: "^[0-9a-f]{1,32}$"}, mode: REQUIRED}
      evt: {from: query, rule: {type: string, required: true, maxlength: 16}}
sites:
  shop: {method: swallow, shape: visit, batch: {rows: 50, seconds: 0.1}}
"""
PROGRAMS = ("redis-server", "redis-cli", "redis-check-aof")
SHIMS = Path(__file__).with_name("shims")
SECONDS = 60


class Machine:
    """The files of the machine, the service, and what visitors and an operator do."""

    def __init__(self, folder: Path, warehouse: Warehouse, mounted: Path | None = None, **more: str) -> None:
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        if missing:
            absent(f"{', '.join(missing)}: apt-get install redis")
        self.warehouse = warehouse
        self.folder = folder
        self.data = (mounted or folder) / "data"
        self.backup = folder / "backup"
        self.sites_file = folder / "sites.yaml"
        self.settings = folder / "oceanus.env"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.backup.mkdir()
        self.sites_file.write_text(SITES, encoding="utf-8")
        told = warehouse.environ | {
            "SITES_FILE": str(self.sites_file),
            "CONSOLE": "0",
            "AUDIT_SECONDS": "0",
            "GRACE_SECONDS": "5",
            "INTERVAL_SECOND": "2",
            "INTERNAL_IPS_V4": "127.0.0.0/8",
            "REDIS_MAXMEMORY": "64mb",
        }
        self.set(**(told | more))
        self.names = {
            "DATA_DIR": str(self.data),
            "SETTINGS": str(self.settings),
            "SITES": str(self.sites_file),
            "BACKUPS": str(self.backup),
            "SITE": "shop",
            "SPARE": str(folder / "spare.sock"),
            "BQ_DATASET": warehouse.settings.dataset,
        }
        self._kept = folder / "names"
        self._environ = {
            "PATH": f"{self._shims()}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "MACHINE": str(folder),
            "LISTENER": str(self._listener.fileno()),
        }

    # --- the operator

    def run(self, script: str, code: int = 0) -> str:
        """Run commands as the operator's shell does, which stops at the first that fails; return what they print.

        Names that they set are there for the next ones.
        """
        lines = f"set -a; . {self._kept}; set -euo pipefail\n{script}\nexport -p > {self._kept}"
        if not self._kept.exists():
            self._kept.write_text("", encoding="utf-8")
        done = subprocess.run(
            ["bash", "-c", lines],
            env=self._environ | self.names,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            pass_fds=[self._listener.fileno()],
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == code, f"{script}\n{done.stdout}\n{self.log()[-3000:]}"
        return done.stdout

    def landed(self, site: str = "shop") -> list[str]:
        """Return the `evt` of each row of a site, sorted."""
        return sorted(str(evt) for (evt,) in self.warehouse.rows(f"SELECT evt FROM {site}"))

    def until_landed(self, *events: str, site: str = "shop") -> None:
        """Wait until exactly these rows are there."""
        until(lambda: self.landed(site) == sorted(events), SECONDS)

    def waiting(self) -> int:
        """Return how many records wait in Redis and in arms' journal."""
        found = running.find({"DATA_DIR": str(self.data)})
        spools = Spools.connected(shards(read(RedisSettings, found.environ)))
        journal = status.ask_arms(found.arms_metrics)
        in_redis = sum(status.waiting(spools.look(name)) for name in spools.sites())
        return in_redis + (journal.records if journal else 1)

    def until_idle(self) -> None:
        """Wait until nothing waits any more."""
        until(lambda: self.waiting() == 0, SECONDS)

    def set(self, **settings: str) -> None:
        """Write settings into the machine's file, after those that are there."""
        with self.settings.open("a", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in settings.items())

    # --- what happens to it

    @property
    def children(self) -> dict[str, int]:
        """Return the process ids of what the service runs, by name."""
        running: dict[str, int] = json.loads((self.data / "up.json").read_text(encoding="utf-8"))["children"]
        return running

    def hold(self, name: str = "r2bq") -> None:
        """Stop a process as a debugger does: nothing of what comes now lands."""
        os.kill(self.children[name], signal.SIGSTOP)

    def release(self, name: str = "r2bq") -> None:
        """Let it go on."""
        os.kill(self.children[name], signal.SIGCONT)

    def kill(self, name: str) -> None:
        """End a process at once."""
        os.kill(self.children[name], signal.SIGKILL)

    def restart(self, name: str) -> None:
        """End a process at once, with all that it has, and wait until it is started again."""
        old = self.children[name]
        self.kill(name)
        until(lambda: self.children.get(name, old) != old, SECONDS)

    def power_cut(self) -> None:
        """End everything at once."""
        up = self._up()
        if up is None:
            return
        everything = [up, *up.children(recursive=True)]
        for process in everything:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        until(lambda: not any(map(_lives, everything)), SECONDS)
        (self.folder / "up.pid").unlink(missing_ok=True)

    def log(self) -> str:
        """Return all that the service has said."""
        file = self.folder / "service.log"
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""

    def close(self) -> None:
        """End what is left, and leave the address."""
        self.power_cut()
        self._listener.close()

    # --- visitors

    def visit(self, *events: str, site: str = "shop", status: int = 200) -> None:
        """Send a beacon for each event; each must get that answer."""
        with httpx.Client(base_url=self.url, timeout=SECONDS, trust_env=False) as client:
            for evt in events:
                answer = client.get(f"/swallow/{site}", params={"sid": "7e57", "evt": evt})
                assert answer.status_code == status, (evt, answer.status_code, answer.headers)

    def try_to_visit(self, evt: str, site: str = "shop") -> int:
        """Send a beacon; return what it is answered."""
        url = f"{self.url}/swallow/{site}"
        return httpx.get(url, params={"sid": "7e57", "evt": evt}, timeout=SECONDS, trust_env=False).status_code

    def visit_meanwhile(self, *events: str) -> "Future[None]":
        """Send beacons that may have to wait at the door."""
        pool = ThreadPoolExecutor(1, "visitor")
        visit = pool.submit(self.visit, *events)
        pool.shutdown(wait=False)
        return visit

    def _up(self) -> psutil.Process | None:
        try:
            return psutil.Process(int((self.folder / "up.pid").read_text(encoding="utf-8")))
        except (OSError, ValueError, psutil.NoSuchProcess):
            return None

    def _shims(self) -> Path:
        """Return a folder with the commands that are played here."""
        folder = self.folder / "bin"
        folder.mkdir()
        for shim in SHIMS.glob("*.py"):
            file = folder / shim.stem
            file.write_text(f'#!/bin/sh\nexec {sys.executable} {shim} "$@"\n', encoding="utf-8")
            file.chmod(file.stat().st_mode | stat.S_IXUSR)
        return folder


class Operator:
    """Follows the blocks of a page that a test runs, one after the other."""

    def __init__(self, machine: Machine, name: str, test: str) -> None:
        self._machine = machine
        self._blocks = [block for block in page.blocks(name) if block.test == test]
        assert self._blocks, f"{name} has no block that says it is run by {test}"

    def next(self, code: int = 0, words: str = "") -> str:
        """Run the next block, with more words at its end; return what it prints."""
        return self._machine.run(f"{self._blocks.pop(0).text.rstrip()} {words}", code)

    def skip(self, count: int) -> None:
        """Leave out blocks that another page has instead."""
        del self._blocks[:count]

    @property
    def is_done(self) -> bool:
        """Say whether all blocks were run."""
        return not self._blocks


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
