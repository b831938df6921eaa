"""The rig: Redis with the shipped redis.conf, oceanus' processes, and what they are compared with, in a new folder."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil

from arms.__main__ import arguments
from management import parts
from oceanus import settings, sites
from oceanus.settings import ArmsSettings, RedisSettings

START_SECONDS = 60
STOP_SECONDS = 30
MEBI = 1 << 20
PROJECT, DATASET = "local", "bench"


@dataclass(frozen=True, slots=True)
class Use:
    """What processes have taken: CPU seconds since they began, and their memory in MiB."""

    cpu_seconds: float
    mib: float


@dataclass(frozen=True, slots=True)
class Server:
    """A running gunicorn."""

    url: str
    pid: int

    @property
    def workers(self) -> list[psutil.Process]:
        """Return the processes that do the work; the master only waits."""
        return psutil.Process(self.pid).children()

    def use(self) -> Use:
        """Return what its workers have taken."""
        return _use(self.workers)


@dataclass(frozen=True, slots=True)
class Single(Server):
    """A running process without workers."""

    @property
    def workers(self) -> list[psutil.Process]:
        """Return itself."""
        return [psutil.Process(self.pid)]


class Rig:
    """Starts what a bench needs, and ends it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ends = contextlib.ExitStack()
        port = parts.free_port()
        self.environ: dict[str, str] = settings.environment() | {
            "SITES_FILE": str(sites.SAMPLE),
            "LISTEN_ADDRESS": "127.0.0.1",
            "LOG_LEVEL": "WARNING",
            "REDIS_PD_SERVICE_HOST": "127.0.0.1",
            "REDIS_PD_SERVICE_PORT": str(port),
            "REDIS_PASSWORD": "",
            "REDIS_TLS": "0",
        }

    def redis(self, *more: str) -> RedisSettings:
        """Start Redis with the shipped redis.conf, and `more` on its command line; return where it is."""
        found = settings.read(RedisSettings, self.environ)
        command = parts.redis_command(parts.find_redis(), self._new_folder("redis"), found.port, maxmemory="12gb")
        self._start("redis", [*command.words, *more], command.environ)
        _until(lambda: _listens(found.port), f"nothing listens on {found.port}")
        return found

    def arms(self, **more: str) -> Server:
        """Start arms with a journal, as in production, and one worker."""
        journal = self._new_folder(f"journal-{time.monotonic_ns()}")
        environ = self.environ | {"JOURNAL_DIR": str(journal), "PORT": str(parts.free_port())} | more
        process = self._start("arms", [sys.executable, "-m", "arms"], environ)
        return _ready(Server(f"http://127.0.0.1:{environ['PORT']}/", process.pid), "lb")

    def bare(self) -> Server:
        """Start the bare Falcon under the same server with the same settings."""
        read = settings.read(ArmsSettings, self.environ)
        read = replace(read, port=parts.free_port())
        words = [sys.executable, "-m", "gunicorn", *arguments(read)[:-1], "management.bench.bare:create()"]
        process = self._start("bare", words, self.environ)
        return _ready(Server(f"http://127.0.0.1:{read.port}/", process.pid), "swallow/bizocean")

    def bigquery(self) -> dict[str, str]:
        """Start a local BigQuery; return the variables that lead to it."""
        port, grpc_port = parts.free_port(), parts.free_port()
        command = parts.bigquery_command(self._new_folder("bigquery"), port, grpc_port, PROJECT)
        return self._warehouse("bigquery", command.words, command.environ, port, grpc_port)

    def null(self) -> dict[str, str]:
        """Start the null writer; return the variables that lead to it."""
        port, grpc_port = parts.free_port(), parts.free_port()
        words = [sys.executable, "-m", "management.bench.null", str(port), str(grpc_port)]
        return self._warehouse("null", words, self.environ, port, grpc_port)

    def r2bq(self, where: Mapping[str, str]) -> Single:
        """Start one r2bq that writes to the BigQuery at `where`; it drains what waits at once."""
        environ = self.environ | dict(where) | {"PORT": str(parts.free_port())}
        process = self._start("r2bq", [sys.executable, "-m", "r2bq"], environ)
        return Single(f"http://127.0.0.1:{environ['PORT']}/", process.pid)

    def stop(self, server: Server) -> None:
        """End one server before the others."""
        process = psutil.Process(server.pid)
        process.terminate()
        process.wait(STOP_SECONDS)

    def close(self) -> None:
        """End all that was started, the last first."""
        self._ends.close()

    def _warehouse(
        self, name: str, words: list[str], environ: Mapping[str, str], port: int, grpc_port: int
    ) -> dict[str, str]:
        self._start(name, words, environ)
        for one in (port, grpc_port):
            _until(partial(_listens, one), f"nothing listens on {one}")
        return {
            "PROJECT_ID": PROJECT,
            "DATA_SET": DATASET,
            "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{port}",
            "BIGQUERY_STORAGE_EMULATOR_HOST": f"127.0.0.1:{grpc_port}",
        }

    def _new_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder

    def _start(self, name: str, words: list[str], environ: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        log = self._ends.enter_context((self.folder / f"{name}.log").open("ab"))
        process = subprocess.Popen(words, env=environ, stdout=log, stderr=log)  # noqa: S603 - our own programs
        self._ends.callback(_end, process)
        return process


@contextlib.contextmanager
def rig() -> Iterator[Rig]:
    """Yield a rig, and end all that it has started."""
    with TemporaryDirectory(prefix="oceanus-bench-") as folder:
        made = Rig(Path(folder))
        try:
            yield made
        finally:
            made.close()


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _use(processes: Iterable[psutil.Process]) -> Use:
    """Return what processes have taken together."""
    told = [(one.cpu_times(), one.memory_info().rss) for one in processes]
    return Use(sum(times.user + times.system for times, _ in told), sum(rss for _, rss in told) / MEBI)


def _ready(server: Server, path: str) -> Server:
    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(server.url + path, trust_env=False).is_success
        return False

    _until(answers, f"{server.url}{path} does not answer")
    return server


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def _until(true: Callable[[], bool], otherwise: str) -> None:
    ends = time.monotonic() + START_SECONDS
    while not true():
        if time.monotonic() > ends:
            raise TimeoutError(otherwise)
        time.sleep(0.05)  # it is another process, which can only be asked again
