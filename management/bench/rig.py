"""The rig: Redis with the shipped redis.conf, arms, and a bare Falcon under the same server, in a folder of its own."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True)
class Use:
    """What the workers of a server have taken: CPU seconds since they began, and their memory in MiB."""

    cpu_seconds: float
    mib: float


@dataclass(frozen=True, slots=True)
class Server:
    """A running gunicorn."""

    url: str
    pid: int

    def use(self) -> Use:
        """Return what its workers have taken; the master, which only waits, is not counted."""
        workers = psutil.Process(self.pid).children()
        times = [worker.cpu_times() for worker in workers]
        spent = sum(one.user + one.system for one in times)
        return Use(spent, sum(worker.memory_info().rss for worker in workers) / MEBI)


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
        folder = self.folder / "redis"
        folder.mkdir()
        command = parts.redis_command(parts.find_redis(), folder, found.port, maxmemory="12gb")
        self._start("redis", [*command.words, *more], command.environ)
        _until(lambda: _listens(found.port), f"nothing listens on {found.port}")
        return found

    def arms(self, **more: str) -> Server:
        """Start arms with a journal, as in production, and one worker."""
        journal = self.folder / f"journal-{time.monotonic_ns()}"
        journal.mkdir()
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

    def stop(self, server: Server) -> None:
        """End one server before the others."""
        process = psutil.Process(server.pid)
        process.terminate()
        process.wait(STOP_SECONDS)

    def close(self) -> None:
        """End all that was started, the last first."""
        self._ends.close()

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
