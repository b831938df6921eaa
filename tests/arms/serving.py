"""A running arms for tests: real gunicorn, real sockets."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import httpx
import psutil
import pytest

from arms.__main__ import arguments
from management import parts
from oceanus import settings, sites
from oceanus.settings import ArmsSettings
from tests.conftest import RedisProcess, end, wait_for_port

GOOD = {"oid": "2", "evt": "pageview", "sid": "86895a04e5a59600", "url": "https://shop.example/"}


@dataclass
class Server:
    """A running arms."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    def get(self, path: str, **options: object) -> httpx.Response:
        """Send a GET over a connection of its own."""
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=20, **options)

    def swallow(self, **changes: str) -> httpx.Response:
        """Send a good beacon."""
        return self.get(f"/swallow/bizocean?{urlencode(GOOD | changes)}")

    def connect(self, sent: bytes = b"", seconds: float = 20) -> socket.socket:
        """Open a connection and send the first bytes."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=seconds)
        connection.sendall(sent)
        return connection

    def raw(self, sent: bytes) -> bytes:
        """Send bytes and return the first line of the answer."""
        with self.connect(sent) as connection:
            return connection.makefile("rb").readline()

    def memory(self) -> int:
        """Return the bytes that the workers hold."""
        return sum(worker.memory_info().rss for worker in psutil.Process(self.process.pid).children())


Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start `python -m arms` at a Redis, with more environment; with `turns`, gunicorn with other times."""
    started: list[Server] = []

    def start(redis: RedisProcess, turns: dict[str, float] | None = None, **environ: str) -> Server:
        port, log = parts.free_port(), tmp_path / f"arms-{len(started)}.log"
        told = {
            "PORT": str(port),
            "LISTEN_ADDRESS": "127.0.0.1",
            "SITES_FILE": str(sites.SAMPLE),
            "PATH": "/usr/bin:/bin",
        }
        whole = told | redis.environ | environ
        words = ["arms"] if turns is None else hurried(whole, turns, tmp_path / "turns.py")
        with log.open("wb") as out:
            process = subprocess.Popen([sys.executable, "-m", *words], env=whole, stdout=out, stderr=out)
        started.append(Server(process, port, log))
        wait_for_port(port, process)
        return started[-1]

    yield start
    for server in started:
        end(server.process)


def hurried(environ: dict[str, str], turns: dict[str, float], config: Path) -> list[str]:
    """Return the command of a gunicorn whose connections have other times than arms.server gives them."""
    config.write_text(f"from arms.server import *\nfrom arms.server import TURNS\nTURNS |= {turns!r}\n")
    words = arguments(settings.read(ArmsSettings, environ))
    return ["gunicorn", *(f"--config={config}" if word.startswith("--config=") else word for word in words)]
