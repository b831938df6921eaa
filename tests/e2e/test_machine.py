"""`oceanus up` as one plain machine runs it in production: under systemd's socket, and with Google's BigQuery."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from management import parts
from oceanus.sites import SAMPLE
from tests.conftest import end, handed_over, until
from tests.e2e.test_up import BEACON, OCEANUS, Up


class UnderSystemd(Up):
    """`oceanus up` with a socket that outlives it, and an ear for what it tells."""

    def __init__(self, folder: Path) -> None:
        (folder / "sites.yaml").write_text(SAMPLE.read_text(encoding="utf-8"), encoding="utf-8")  # without alerts
        environ = {"DATA_DIR": str(folder / "data"), "SITES_FILE": str(folder / "sites.yaml"), "HOME": str(folder)}
        super().__init__(folder, environ | {"PATH": os.environ["PATH"]})
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ear.bind(str(folder / "notify"))
        self.environ["NOTIFY_SOCKET"] = str(folder / "notify")

    @property
    def door(self) -> str:
        """Return the address that its socket has, whether it runs or not."""
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def popen(self) -> "subprocess.Popen[str]":
        """Start the process."""
        words, keeps = handed_over(self.listener, [OCEANUS, "up"]), [self.listener.fileno()]
        return subprocess.Popen(words, env=self.environ, stdout=subprocess.PIPE, text=True, pass_fds=keeps)


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[UnderSystemd]:
    """An `oceanus up` that systemd started."""
    running = UnderSystemd(tmp_path)
    running.start()
    yield running
    end(running.process, 60)
    running.listener.close()
    running.ear.close()


def test_a_restart_under_load_refuses_nobody_and_each_answer_is_one_row(systemd: UnderSystemd) -> None:
    over = threading.Event()

    def visit() -> list[int]:
        """Send one beacon after another, each over a connection of its own, as a proxy without keep-alive does."""
        statuses = []
        while not over.is_set():
            statuses.append(httpx.get(systemd.door + BEACON, timeout=120).status_code)
            time.sleep(0.05)  # enough to have somebody at the door at each moment, and no more
        return statuses

    with ThreadPoolExecutor(4) as pool:
        visitors = [pool.submit(visit) for _ in range(4)]
        until(lambda: systemd.status()["total"]["landed"] > 0)
        assert systemd.stop(signal.SIGTERM) == 0
        systemd.start()
        over.set()
        answered = [status for visitor in visitors for status in visitor.result()]

    assert set(answered) == {200}
    until(lambda: systemd.status()["total"]["landed"] == len(answered))
    assert [systemd.ear.recv(100) for _ in range(3)] == [b"READY=1", b"STOPPING=1", b"READY=1"]


class Google(ThreadingHTTPServer):
    """Google's token service: it answers every request for a token with one status."""

    def __init__(self, status: int, answer: dict[str, str]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def key_file(folder: Path, port: int) -> Path:
    """Write a service account's key whose tokens come from a port of this machine."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key = {
        "type": "service_account",
        "client_email": "oceanus@my-project.iam.gserviceaccount.com",
        "private_key": private.decode(),
        "token_uri": f"http://127.0.0.1:{port}/token",
    }
    (folder / "key.json").write_text(json.dumps(key))
    return folder / "key.json"


@pytest.fixture
def google(tmp_path: Path) -> Up:
    """An `oceanus up` for Google's BigQuery; not started."""
    environ = {"DATA_DIR": str(tmp_path / "data"), "PORT": str(parts.free_port()), "HOME": str(tmp_path)}
    return Up(tmp_path, environ | {"PATH": os.environ["PATH"], "PROJECT_ID": "my-project", "GRACE_SECONDS": "2"})


def test_without_credentials_nothing_starts_and_one_line_says_why(google: Up) -> None:
    google.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(google.folder / "none.json")

    run = google.run("up")

    assert run.returncode == 1
    assert run.stderr == f"GOOGLE_APPLICATION_CREDENTIALS={google.folder}/none.json: there is no such file\n"
    assert not (google.folder / "data").exists()


def test_credentials_that_are_refused_are_one_line(google: Up) -> None:
    with Google(400, {"error": "invalid_grant", "error_description": "Invalid grant: account not found"}) as service:
        google.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(key_file(google.folder, service.server_port))

        run = google.run("up")

        service.shutdown()
    [line] = run.stderr.splitlines()
    assert run.returncode == 1
    assert line.startswith("PROJECT_ID=my-project: BigQuery cannot be used: RefreshError: ")
    assert line.endswith(
        "check PROJECT_ID, the credentials (GOOGLE_APPLICATION_CREDENTIALS or the machine's own) and their role"
    )
    assert not (google.folder / "data").exists()


def test_beacons_are_taken_while_bigquery_is_away(google: Up) -> None:
    google.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(key_file(google.folder, parts.free_port()))
    google.environ["REDIS_MAXMEMORY"] = "64mb"
    process = subprocess.Popen([OCEANUS, "up"], env=google.environ, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{google.environ['PORT']}"
    try:
        until((google.folder / "data" / "up.json").exists, 60)
        assert httpx.get(url + BEACON, timeout=30).status_code == 200

        status = google.status()
        children = json.loads((google.folder / "data" / "up.json").read_text())["children"]
    finally:
        assert end(process, 60) == 0

    assert status["sites"]["bizocean"]["queue"] == 1
    assert "bigquery" not in children
    assert not (google.folder / "data" / "bigquery").exists()
    assert "up            | BigQuery is away: " in google.log()
    assert "up            | left in Redis for the next start: bizocean 1" in google.log()
