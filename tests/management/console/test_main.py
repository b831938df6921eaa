"""The process: what it refuses to start with, and that it serves, stops, and keeps to its memory."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from management import parts
from management.console.__main__ import check_address, is_loopback
from oceanus.errors import MisconfiguredError
from oceanus.settings import ConsoleSettings, read
from oceanus.sites import SAMPLE
from tests.conftest import RedisProcess, end, is_ok, until

TOKEN = "a-token-of-this-console"


@pytest.mark.parametrize(
    ("host", "is_own"),
    [("127.0.0.1", True), ("127.0.0.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.7", False), ("console.example", False)],
)  # fmt: skip
def test_without_a_token_it_listens_on_this_machine_alone(host, is_own):
    assert is_loopback(host) == is_own
    check_address(read(ConsoleSettings, {"CONSOLE_ADDRESS": host, "CONSOLE_TOKEN": TOKEN}))
    if not is_own:
        with pytest.raises(MisconfiguredError, match="set CONSOLE_TOKEN"):
            check_address(read(ConsoleSettings, {"CONSOLE_ADDRESS": host}))


def test_a_short_token_is_one_line_that_names_it():
    with pytest.raises(MisconfiguredError) as caught:
        read(ConsoleSettings, {"CONSOLE_TOKEN": "short"})

    assert [line.startswith("CONSOLE_TOKEN='short': must have at least 16") for line in caught.value.mistakes] == [True]


@pytest.mark.parametrize("url", ["arms:8080", "http://", "http://arms:99999", "ftp://arms", "http://a b"])
def test_an_address_of_arms_that_is_none_is_one_line_that_names_it(url):
    with pytest.raises(MisconfiguredError) as caught:
        read(ConsoleSettings, {"CONSOLE_ARMS_URL": url})

    assert [line.startswith(f"CONSOLE_ARMS_URL={url!r}: must be an address") for line in caught.value.mistakes] == [
        True
    ]


def test_every_mistake_is_a_line_before_anything_listens(tmp_path):
    environ = {"SITES_FILE": str(tmp_path / "none.yaml"), "REDIS_PD_SERVICE_HOST": "127.0.0.1", "PROJECT_ID": "p"}

    run = subprocess.run(
        [sys.executable, "-m", "management.console"], env=environ, capture_output=True, text=True, check=False
    )

    assert run.returncode == 1
    assert run.stderr.splitlines()[0].startswith("console: ")
    assert "none.yaml" in run.stderr


class Console:
    """A console of its own process, at a Redis, with no BigQuery and no arms."""

    def __init__(self, redis: RedisProcess, folder: Path, **environ: str) -> None:
        self.port = parts.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        told = {
            "CONSOLE_PORT": str(self.port),
            "SITES_FILE": str(SAMPLE),
            "PATH": "/usr/bin:/bin",
            "PROJECT_ID": "local",
        }
        told |= {"BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:1", "BIGQUERY_STORAGE_EMULATOR_HOST": "127.0.0.1:1"}
        with (folder / "console.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "management.console"],
                env=told | redis.environ | environ,
                cwd=folder,
                stdout=log,
                stderr=log,
            )
        until(lambda: is_ok(f"{self.url}/hc"))


def memory(process: "subprocess.Popen[bytes]") -> int:
    """Return the bytes that the console's worker holds."""
    [worker] = psutil.Process(process.pid).children()
    return worker.memory_info().rss


@pytest.fixture
def console(redis_server: RedisProcess, tmp_path: Path) -> Iterator[Console]:
    (tmp_path / "gunicorn.conf.py").write_text("raise SystemExit('read from the folder')", encoding="utf-8")
    running = Console(redis_server, tmp_path)
    yield running
    end(running.process)


def test_it_serves_with_bigquery_and_arms_away_and_stops_at_once_with_a_page_open(console):
    with httpx.stream("GET", f"{console.url}/live", timeout=20) as live:
        first = next(live.iter_text())
        away = httpx.get(f"{console.url}/failed", timeout=90)
        code = end(console.process)

    assert first.startswith("event: hello")
    assert away.status_code == 503
    assert away.json()["error"].startswith("BigQuery is away")
    assert code == 0


def test_a_viewer_that_reads_nothing_costs_no_memory_and_stops_no_other(console, redis_server):
    silent = socket.create_connection(("127.0.0.1", console.port))
    silent.sendall(f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{console.port}\r\n\r\n".encode())
    client = redis_server.client()
    raw = b'{"v":1,"eid":"019a4b6e-3c00-7abc-8def-0123456789ab","dt":"2026-11-23 07:21:25","tit":"%s"}' % (b"x" * 4000)

    with httpx.stream("GET", f"{console.url}/live", timeout=20) as live:
        text = live.iter_text()
        until(lambda: client.pubsub_numsub("oceanus:{bizocean}:live")[0][1] == 1)
        held = []
        for _ in range(9):
            for _ in range(600):
                client.publish("oceanus:{bizocean}:live", raw)
            until(lambda: '"more":' in next(text))
            held.append(memory(console.process))

    silent.close()
    assert max(held) - held[3] < 5 * 600 * len(raw) / 2  # by then the stream is full; it goes on without growing
    assert is_ok(f"{console.url}/hc")
