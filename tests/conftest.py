"""Real parts for the tests: Redis and the local BigQuery, on free ports, in temporary folders, ended by process id.

A part that a laptop lacks skips its tests; with CI=true it fails them. With LIVE_PROJECT_ID the tests that use a
warehouse, and those alone, run against Google's BigQuery in that project (`make live`).
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import hypothesis
import pytest
import redis

from management import parts
from oceanus import settings, warehouse
from oceanus.errors import MisconfiguredError
from oceanus.settings import RedisSettings, WarehouseSettings
from oceanus.spool import Spool, connect
from oceanus.warehouse import Catalog, Clients

# A busy machine is no mistake: no test asks how long an example takes.
hypothesis.settings.register_profile("oceanus", deadline=None)
hypothesis.settings.load_profile("oceanus")
LIVE = os.environ.get("LIVE_PROJECT_ID", "")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the tests for the BigQuery at hand: Google's (`live` and the common ones) or the local one (`local`)."""
    if LIVE:
        chosen = [item for item in items if "warehouse" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen
    other, reason = ("local", "by what only the local BigQuery does") if LIVE else ("live", "needs LIVE_PROJECT_ID")
    for item in items:
        if item.get_closest_marker(other):
            item.add_marker(pytest.mark.skip(reason=reason))


def absent(reason: str) -> None:
    """Skip the test for a missing part; in CI, where every part must be, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have this part: {reason}")
    pytest.skip(reason)


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)  # it comes of another process, which can only be asked again


def is_ok(url: str) -> bool:
    """Say whether an address answers 200; one that does not answer is not ok."""
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def wait_for_port(port: int, process: "subprocess.Popen[bytes]", seconds: float = 60) -> None:
    """Return when something listens on `port` of loopback; fail if the process ends or time runs out."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"{process.args} ended with {process.returncode}")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"{process.args} does not listen on {port} after {seconds} s")


def handed_over(listener: socket.socket, words: list[str]) -> list[str]:
    """Return `words` as systemd starts them with a socket: it is descriptor 3, and meant for that very process.

    Give the listener's descriptor to the new process (`pass_fds`).
    """
    lines = (
        "import os, sys\n"
        "os.dup2(int(sys.argv[1]), 3)\n"
        "os.environ |= {'LISTEN_FDS': '1', 'LISTEN_PID': str(os.getpid())}\n"
        "os.execv(sys.argv[2], sys.argv[2:])\n"
    )
    return [sys.executable, "-c", lines, str(listener.fileno()), *words]


def end(process: "subprocess.Popen[bytes]", seconds: float = 20) -> int:
    """End a process that a test started, and return its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(seconds)


class RedisProcess:
    """A Redis of the tests: its own folder, the shipped redis.conf; can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = parts.free_port()
        self.settings = settings.read(
            RedisSettings, {"REDIS_PD_SERVICE_HOST": "127.0.0.1", "REDIS_PD_SERVICE_PORT": str(self.port)}
        )
        self.environ = {"REDIS_PD_SERVICE_HOST": "127.0.0.1", "REDIS_PD_SERVICE_PORT": str(self.port)}
        self.start()

    def start(self) -> None:
        """Start it on its port and its files, and wait until it has read them."""
        command = parts.redis_command(parts.find_redis(), self.folder, self.port)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command.words, env=command.environ, stdout=log, stderr=log)
        wait_for_port(self.port, self.process)
        client = redis.Redis(port=self.port)
        while client.info("persistence")["loading"]:
            time.sleep(0.01)
        client.close()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.process.kill()
        self.process.wait()

    def client(self) -> "redis.Redis":
        """Return a plain client, for a test to look into it."""
        return redis.Redis(port=self.port)


@pytest.fixture(scope="session")
def _redis_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    try:
        parts.find_redis()
    except MisconfiguredError as exc:
        absent(str(exc))
    server = RedisProcess(tmp_path_factory.mktemp("redis"))
    yield server
    end(server.process)


@pytest.fixture
def redis_server(_redis_of_the_session: RedisProcess) -> RedisProcess:
    """A running, empty Redis with the shipped redis.conf; shared by the session, emptied for each test."""
    client = _redis_of_the_session.client()
    client.flushall()
    client.close()
    return _redis_of_the_session


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis for this test alone, which it may kill and start again."""
    try:
        parts.find_redis()
    except MisconfiguredError as exc:
        absent(str(exc))
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisProcess(folder)
    yield server
    end(server.process)


@pytest.fixture
def spool(redis_server: RedisProcess) -> Spool:
    """The reading end of an empty spool."""
    return Spool(connect(redis_server.settings))


@dataclass(frozen=True)
class LocalBigQuery:
    """A running local BigQuery."""

    environ: dict[str, str]


@pytest.fixture(scope="session")
def local_bigquery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBigQuery]:
    """A local BigQuery for the whole session, or Google's; give each test a dataset of its own."""
    if LIVE:
        told = {
            name: os.environ[name] for name in ("BQ_LOCATION", "GOOGLE_APPLICATION_CREDENTIALS") if name in os.environ
        }
        yield LocalBigQuery({"PROJECT_ID": LIVE} | told)
        return
    folder = tmp_path_factory.mktemp("bigquery")
    port, grpc_port = parts.free_port(), parts.free_port()
    try:
        command = parts.bigquery_command(folder, port, grpc_port, "local")
    except MisconfiguredError as exc:
        absent(str(exc))
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command.words, env=command.environ, stdout=log, stderr=log)
    wait_for_port(port, process)
    wait_for_port(grpc_port, process)
    yield LocalBigQuery(
        {
            "PROJECT_ID": "local",
            "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{port}",
            "BIGQUERY_STORAGE_EMULATOR_HOST": f"127.0.0.1:{grpc_port}",
        }
    )
    end(process)


@dataclass(frozen=True)
class Warehouse:
    """A dataset of a test's own in the local BigQuery; `environ` leads a child process there."""

    settings: WarehouseSettings
    clients: Clients
    environ: dict[str, str]

    @property
    def catalog(self) -> Catalog:
        """Return what reads and changes its tables."""
        return Catalog(self.clients)

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """Return what a query answers."""
        return list(warehouse.Queries(self.clients, self.settings.dataset).select(sql, 10**12).rows)


@pytest.fixture(name="warehouse")
def _warehouse(local_bigquery: LocalBigQuery) -> Iterator[Warehouse]:
    environ = local_bigquery.environ | {"DATA_SET": f"t_{secrets.token_hex(6)}"}
    read = settings.read(WarehouseSettings, environ)
    clients = warehouse.connect(read)
    yield Warehouse(read, clients, environ)
    for name in (read.dataset, f"{read.dataset}_failed"):  # the local one, too, is ten times slower with many tables
        clients.rest.delete_dataset(f"{read.project}.{name}", delete_contents=True, not_found_ok=True)
