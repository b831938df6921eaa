"""A roll-out and a smaller scale, as Kubernetes does them, under a load: nobody is refused, nothing lost or doubled.

A pod that is to end is taken out of its Service while its preStop runs; then it gets SIGTERM. A StatefulSet (arms) ends
the old pod before the new one starts on its volume, a Deployment (r2bq) starts the new one first. The balancer here
goes on for a moment with what it knew, and tries another pod once where a connection is refused.
"""

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from management import parts
from oceanus import sites
from tests.arms.conftest import GOOD
from tests.conftest import RedisProcess, Warehouse, end, is_ok, until

KNOWN_SECONDS = 0.5  # so long the balancer goes on sending to a pod that is to end
LOAD_SECONDS = 0.01  # between two beacons
SECONDS = 90


class Pod:
    """One process of ours with its own port and, if it is arms, its volume."""

    def __init__(self, process: str, environ: dict[str, str], folder: Path) -> None:
        self.volume = folder / "journal"
        self.volume.mkdir(parents=True, exist_ok=True)
        self.port = parts.free_port()
        self._process = process
        self._environ = environ | {"PORT": str(self.port), "LISTEN_ADDRESS": "127.0.0.1", "GRACE_SECONDS": "10"}
        if process == "arms":
            self._environ |= {"JOURNAL_DIR": str(self.volume)}
        self._log = folder / "log"
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            words = [sys.executable, "-m", self._process]
            self.process = subprocess.Popen(words, env=self._environ, stdout=log, stderr=log)
        until(self.is_ready)

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        return is_ok(f"http://127.0.0.1:{self.port}{'/lb' if self._process == 'arms' else '/hc'}")

    def pre_stop(self, most: float) -> int:
        """Run what k8s/base/arms.yaml runs before arms is told to stop; return its exit code."""
        words = [sys.executable, "-m", "arms", "--before-stop", str(2 * KNOWN_SECONDS), str(most)]
        return subprocess.run(words, env=self._environ, check=False, capture_output=True, timeout=SECONDS).returncode

    def stop(self) -> int:
        """Tell it to stop; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def journalled(self) -> int:
        told = httpx.get(f"http://127.0.0.1:{self.port}/metrics").text
        counts = [line.split()[1] for line in told.splitlines() if line.startswith("oceanus_arms_journalled ")]
        return sum(int(float(count)) for count in counts)

    def push_journal(self) -> int:
        """Run what the Job runs that empties the volume of a pod that is gone; return its exit code."""
        words = [sys.executable, "-m", "arms", "--push-journal", str(self.volume)]
        return subprocess.run(words, env=self._environ, check=False, capture_output=True, timeout=SECONDS).returncode


class Load:
    """Beacons with numbers, one after another, through a balancer; each is accepted, refused, or without an answer."""

    def __init__(self) -> None:
        self.pods: list[Pod] = []
        self.outcomes: Counter[str] = Counter()
        self.accepted: list[int] = []
        self._turns = itertools.count()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def forget(self, pod: Pod) -> None:
        """Send no more to a pod, a moment from now."""
        time.sleep(KNOWN_SECONDS)  # what a real one takes to learn it
        self.pods = [one for one in self.pods if one is not pod]

    def _run(self) -> None:
        for number in itertools.count():
            if self._ends.wait(LOAD_SECONDS):
                return
            outcome = self._send(number)
            self.outcomes[outcome] += 1
            if outcome == "accepted":
                self.accepted.append(number)

    def _send(self, number: int) -> str:
        for _ in range(2):
            pods = self.pods
            pod = pods[next(self._turns) % len(pods)]
            url = f"http://127.0.0.1:{pod.port}/swallow/bizocean"
            try:
                answer = httpx.get(url, params=GOOD | {"uid": str(number)}, timeout=20)
            except httpx.ConnectError:
                self.outcomes["tried again"] += 1
            except httpx.TransportError:
                return "unanswered"
            else:
                return "accepted" if answer.is_success else "refused"
        return "refused"


class Cluster:
    """Redis, a dataset, and the pods; what it can be asked at the end."""

    def __init__(self, redis: RedisProcess, warehouse: Warehouse, folder: Path) -> None:
        self.redis, self.warehouse = redis, warehouse
        self._folder = folder
        self.environ = {"PATH": "/usr/bin:/bin", "SITES_FILE": str(sites.SAMPLE), "INTERVAL_SECOND": "1"}
        self.environ |= redis.environ | warehouse.environ
        self.pods: list[Pod] = []

    def pod(self, process: str) -> Pod:
        self.pods.append(Pod(process, self.environ, self._folder / f"{process}-{len(self.pods)}"))
        return self.pods[-1]

    def landed(self) -> list[int]:
        return [int(str(uid)) for (uid,) in self.warehouse.rows("SELECT uid FROM bizocean")]

    def audit(self) -> tuple[int, dict[str, object]]:
        words = [sys.executable, "-m", "management", "audit", "--format", "json"]
        done = subprocess.run(words, env=self.environ, check=False, capture_output=True, text=True, timeout=SECONDS)
        return done.returncode, json.loads(done.stdout)["total"]


@pytest.fixture
def cluster(own_redis: RedisProcess, warehouse: Warehouse, tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(own_redis, warehouse, tmp_path / "pods")
    yield cluster
    for pod in cluster.pods:
        end(pod.process)


def judge(cluster: Cluster, load: Load) -> None:
    """Compare what was accepted with what has landed, by number, and with the audit."""
    until(lambda: len(cluster.landed()) >= len(load.accepted))
    assert sorted(cluster.landed()) == sorted(load.accepted)
    assert len(load.accepted) > 50
    until(lambda: cluster.audit()[0] == 0)
    assert cluster.audit()[1]["missing"] == cluster.audit()[1]["doubled"] == 0


def test_a_roll_out_of_arms_and_r2bq_refuses_nobody_and_loses_and_doubles_nothing(cluster):
    cluster.pod("table_manager")
    drains = [cluster.pod("r2bq") for _ in range(2)]
    load = Load()
    load.pods = [cluster.pod("arms") for _ in range(2)]
    exits = []

    with load:
        for pod in list(load.pods):
            leaving = threading.Thread(target=load.forget, args=(pod,))
            leaving.start()
            exits.append(pod.pre_stop(30))
            leaving.join()
            exits.append(pod.stop())
            pod.start()
            load.pods = [*load.pods, pod]
        for old in drains:
            cluster.pod("r2bq")
            exits.append(old.stop())

    assert exits == [0] * 6
    assert {load.outcomes[name] for name in ("refused", "unanswered", "tried again")} == {0}
    judge(cluster, load)


def test_arms_made_smaller_with_filled_journals_loses_nothing(cluster):
    """From three to one while Redis is away: two volumes are left with beacons, and are emptied when it is back."""
    cluster.pod("table_manager")
    cluster.pod("r2bq")
    load = Load()
    load.pods = pods = [cluster.pod("arms") for _ in range(3)]

    with load:
        until(lambda: len(load.accepted) > 20)
        cluster.redis.kill()
        until(lambda: all(pod.journalled() for pod in pods))
        stops = []
        for pod in (pods[2], pods[1]):
            load.forget(pod)
            stops.append((pod.pre_stop(2 * KNOWN_SECONDS), pod.stop()))
        cluster.redis.start()
        jobs = [pod.push_journal() for pod in (pods[2], pods[1])]

    assert stops == [(1, 0), (1, 0)]
    assert jobs == [0, 0]
    assert load.outcomes["refused"] == load.outcomes["unanswered"] == 0
    judge(cluster, load)
