"""The proxies that docs/one-machine.md puts in front, with their shipped configuration.

Changed is what this machine has not: the ports, the name, the certificate.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlencode

import httpx
import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from management import parts
from tests.arms.conftest import GOOD, sample
from tests.conftest import RedisProcess, absent, end, until, wait_for_port
from tests.machine.test_units import MACHINE, settings

VISITOR = "127.0.0.2"  # an address that is neither the proxy's nor arms'
BEACON = f"/swallow/bizocean?{urlencode(GOOD)}"
KEPT = (
    "{method: swallow, shape: access, tracker: {cookie: arms}, cookie_domain: shop.example,"
    " origins: {allow: ['https://www.shop.example']}}"
)


class Arms:
    """arms behind a socket that outlives it, as under systemd, with the shipped settings."""

    def __init__(self, folder: Path, redis: RedisProcess) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        (folder / "journal").mkdir()
        (folder / "sites.yaml").write_text(sample(bizpow=KEPT), encoding="utf-8")
        own = {"SITES_FILE": str(folder / "sites.yaml"), "JOURNAL_DIR": str(folder / "journal")}
        self._environ = settings() | own | redis.environ | {"LISTEN_FD": str(self.listener.fileno())}
        self.start()

    def start(self) -> None:
        """Start it."""
        words = [sys.executable, "-m", "arms"]
        self.process = subprocess.Popen(words, env=self._environ, pass_fds=[self.listener.fileno()])
        assert httpx.get(f"http://127.0.0.1:{self.port}/lb", timeout=60).status_code == 200

    def restart(self) -> None:
        """Stop it and start it anew."""
        assert end(self.process) == 0
        self.start()


@dataclass
class Door:
    """A proxy: where it takes beacons, and how a visitor goes there."""

    url: str
    process: "subprocess.Popen[bytes]"

    def visitor(self) -> httpx.Client:
        """Return a visitor from an address of his own."""
        transport = httpx.HTTPTransport(verify=False, local_address=VISITOR)
        return httpx.Client(base_url=self.url, transport=transport, timeout=60)


@pytest.fixture
def arms(tmp_path: Path, redis_server: RedisProcess) -> Iterator[Arms]:
    """A running arms."""
    running = Arms(tmp_path, redis_server)
    yield running
    end(running.process)
    running.listener.close()


@pytest.fixture(params=["nginx", "caddy"])
def door(request: pytest.FixtureRequest, tmp_path: Path, arms: Arms) -> Iterator[Door]:
    """A proxy in front of arms."""
    port = parts.free_port()
    certificate(tmp_path)
    words = {"nginx": nginx, "caddy": caddy}[request.param](tmp_path, port, arms.port)
    with (tmp_path / "proxy.log").open("wb") as log:
        process = subprocess.Popen(words, env={"HOME": str(tmp_path)}, stdout=log, stderr=log)
    wait_for_port(port, process)
    yield Door(f"https://127.0.0.1:{port}", process)
    end(process)


def certificate(folder: Path) -> None:
    """Write a certificate for this machine, and its key."""
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]),
    )
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    (folder / "fullchain.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "privkey.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )


def nginx(folder: Path, port: int, arms: int) -> list[str]:
    """Return the command of an nginx with the shipped site."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        absent("nginx")
    site = (MACHINE / "nginx.conf").read_text(encoding="utf-8")
    site = re.sub(r"listen \[::\].*\n", "", site).replace("/etc/letsencrypt/live/beacons.example.com", str(folder))
    site = site.replace("listen 80;", f"listen 127.0.0.1:{parts.free_port()};").replace("8080", str(arms))
    site = site.replace("listen 443", f"listen 127.0.0.1:{port}")
    (folder / "tmp").mkdir()
    places = "".join(
        f"{one}_temp_path {folder}/tmp/{one};\n" for one in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    whole = f"{user} daemon off; pid {folder}/nginx.pid; events {{}}\nhttp {{\n{places}{site}}}\n"
    (folder / "nginx.conf").write_text(whole)
    return [str(program), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def caddy(folder: Path, port: int, arms: int) -> list[str]:
    """Return the command of a Caddy with the shipped file."""
    program = Path(sys.executable).with_name("caddy")
    text = (MACHINE / "Caddyfile").read_text(encoding="utf-8").replace("8080", str(arms))
    text = text.replace("{\n", "{\n\tadmin off\n\tauto_https disable_redirects\n", 1)
    tls = f"tls {folder}/fullchain.pem {folder}/privkey.pem"
    text = text.replace("beacons.example.com {", f"https://127.0.0.1:{port} {{\n\t{tls}")
    (folder / "Caddyfile").write_text(text)
    return [str(program), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


def stored(redis: RedisProcess) -> list[dict[str, object]]:
    """Return what waits in Redis for the site."""
    return [orjson.loads(text) for text in redis.client().lrange("oceanus:{bizocean}:queue", 0, -1)]


def test_an_address_is_whom_the_proxy_saw_whatever_the_visitor_says(door: Door, redis_server: RedisProcess) -> None:
    forged = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Oceanus-Address", "Client-IP", "True-Client-IP")
    with door.visitor() as visitor:
        for header in forged:
            assert visitor.get(BEACON, headers={header: "203.0.113.9"}).status_code == 200
        twice = [("X-Forwarded-For", "203.0.113.9"), ("x-forwarded-for", "203.0.113.10")]
        assert visitor.get(BEACON, headers=twice).status_code == 200

    assert [record["rad"] for record in stored(redis_server)] == [VISITOR] * (len(forged) + 1)


def test_a_cookie_that_came_by_tls_is_for_tls_alone(door: Door) -> None:
    with door.visitor() as visitor:
        answer = visitor.get(f"/swallow/bizpow?{urlencode(GOOD)}", headers={"X-Forwarded-Proto": "http"})

    assert answer.headers["set-cookie"].endswith("; SameSite=Lax; Secure")


def test_what_is_for_neighbours_is_not_for_visitors(door: Door) -> None:
    with door.visitor() as visitor:
        paths = ("/hc", "/lb", "/metrics", "/rstatus", "/metrics?x=1", "/x/../metrics", "/%6detrics")
        answers = {path: visitor.get(path).status_code for path in paths}

    assert answers == dict.fromkeys(paths[:2], 200) | dict.fromkeys(paths[2:], 404)


def test_the_longest_legal_beacons_pass_and_longer_ones_do_not(door: Door, redis_server: RedisProcess) -> None:
    long = urlencode(GOOD | dict.fromkeys(("url", "ref", "tit"), "あ" * 1024))
    batch = orjson.dumps([GOOD | dict.fromkeys(("url", "ref", "tit"), "あ" * 1024) | {"jsn": {"x": "x" * 1000}}] * 100)
    with door.visitor() as visitor:
        assert len(long) > 20_000
        assert visitor.get(f"/swallow/bizocean?{long}").status_code == 200
        assert len(batch) > 1_000_000
        assert visitor.post("/swallow/bizocean", content=batch).status_code == 200
        assert visitor.post("/swallow/bizocean", content=b" " * 1_200_000).status_code == 413

    assert len(stored(redis_server)) == 101


def test_a_restart_of_arms_refuses_nobody(door: Door, arms: Arms, redis_server: RedisProcess) -> None:
    def visit(over: threading.Event) -> list[int]:
        statuses = []
        with door.visitor() as visitor:
            while not over.is_set():
                statuses.append(visitor.get(BEACON).status_code)
        return statuses

    answered = under_load(visit, arms.restart)

    assert set(answered) == {200}
    assert len(stored(redis_server)) == len(answered)


def test_a_visitor_who_does_not_wait_has_still_sent_his_beacon(
    door: Door, arms: Arms, redis_server: RedisProcess
) -> None:
    assert end(arms.process) == 0
    with door.visitor() as visitor, pytest.raises(httpx.ReadTimeout):
        visitor.get(BEACON, timeout=0.5)  # then he closes his end

    arms.start()

    until(lambda: len(stored(redis_server)) == 1)


def test_a_restart_refuses_nobody_who_comes_with_a_connection_for_each_beacon(
    arms: Arms, redis_server: RedisProcess
) -> None:
    def visit(over: threading.Event) -> list[int]:
        statuses = []
        while not over.is_set():
            statuses.append(httpx.get(f"http://127.0.0.1:{arms.port}{BEACON}", timeout=60).status_code)
        return statuses

    answered = under_load(visit, arms.restart)

    assert set(answered) == {200}
    assert len(stored(redis_server)) == len(answered)


def under_load(visit: Callable[[threading.Event], list[int]], restart: Callable[[], None]) -> list[int]:
    """Restart while visitors come; return each answer."""
    over = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        visitors = [pool.submit(visit, over) for _ in range(4)]
        try:
            time.sleep(0.3)  # beacons are on their way
            restart()
            time.sleep(0.3)  # and go on after it
        finally:
            over.set()
        return [status for one in visitors for status in one.result()]
