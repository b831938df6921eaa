"""What a browser meets: pages of two origins, a gate that loses and delays, and behind it arms, r2bq and BigQuery.

All of it is started once for the session, in a minute's fraction: the real parts, but r2bq's patience with resends.
Each test sends from addresses of its own, and asks for the rows of these.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from management import parts
from oceanus import records, settings, warehouse
from oceanus.ledger import added, totals
from oceanus.settings import WarehouseSettings
from oceanus.sites import SAMPLE
from oceanus.spool import key
from tests.chromium import running_chromium
from tests.conftest import LocalBigQuery, RedisProcess, end, until, wait_for_port
from tests.firefox import running_firefox
from tests.tracker.conftest import Built, built

__all__ = ["Built", "built"]

FIREFOX = os.environ.get("BROWSER") == "firefox"  # make firefox
not_in_firefox = pytest.mark.skipif(FIREFOX, reason="Playwright cannot ask Firefox for it")
STATIC = Path(__file__).parents[2] / "arms" / "static"
# Beside the sample's.
SITES = """
  shop: {method: swallow, shape: web, batch: {rows: 50, seconds: 0.1}, table: {form: partitioned}}
  anon: {method: swallow, shape: web, batch: {rows: 50, seconds: 0.1}, table: {form: partitioned},
         privacy: {policy: anonymous, consent: consent}}
  drop: {method: swallow, shape: web, batch: {rows: 50, seconds: 0.1}, table: {form: partitioned},
         privacy: {policy: drop, consent: answer}}
"""
COLUMNS = "eid, sid, uid, evt, url, ref, tit, TO_JSON_STRING(jsn) AS jsn, rad, enc, scr, vie, pid, lang, tz, ver, late"


@dataclass
class Answer:
    """What a server of the tests answers."""

    body: bytes
    kind: str = "text/html; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)


class Pages:
    """A site owner's server: pages that a test has put there, and the tracker's files below /oceanus/."""

    def __init__(self) -> None:
        self.pages: dict[str, Answer] = {}
        pages = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer = pages.find(urlsplit(self.path).path)
                self.send_response(200 if answer else 404)
                body = answer.body if answer else b""
                for name, value in (answer.headers if answer else {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Type", answer.kind if answer else "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - so it is called

            def log_message(self, *_: object) -> None:
                pass

        self._server = serve(Handler)
        self.port = self._server.server_port

    def find(self, path: str) -> Answer | None:
        """Return what stands there."""
        name = path.removeprefix("/oceanus/")
        for file in (STATIC / "js" / name, STATIC / "html" / name):
            if name != path and file.is_file():
                return Answer(file.read_bytes(), "text/javascript" if file.suffix == ".js" else "text/html")
        return self.pages.get(path)

    def put(self, path: str, html: str, **headers: str) -> str:
        """Put a page there; return its path."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[path] = Answer(f"<!doctype html>\n{html}".encode(), headers=named)
        return path

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Gate:
    """What stands between browsers and arms, and notes every beacon; `mode` is what it does to their requests.

    pass: nothing; refuse: answer 503, arms hears nothing; cut: close the connection, arms hears nothing; deaf: hand it
    on, and close the connection without arms' answer; slow: hand it on after a second.
    """

    def __init__(self, arms_port: int) -> None:
        self.mode = "pass"
        self.beacons: list[dict[str, str]] = []
        self.requests: list[str] = []
        self.busy: list[object] = []
        self.handed: set[str] = set()  # names of beacons that arms has been given
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                path = urlsplit(self.path).path
                noted: list[dict[str, str]] = []
                is_beacon = self.command in ("GET", "POST") and path.startswith(("/swallow", "/pirate"))
                mode = gate.mode if is_beacon else "pass"
                if is_beacon:
                    gate.requests.append(f"{self.command} {path} {mode}")
                    gate.busy.append(self)
                    noted = gate.note(self.path, body)
                if mode == "slow":
                    time.sleep(1)  # as a network may
                if mode in ("pass", "deaf", "slow"):
                    status, headers, answer = gate.ask(self.command, self.path, body, dict(self.headers))
                    gate.handed |= {one["cid"] for one in noted if "cid" in one}
                if is_beacon:
                    gate.busy.remove(self)
                if mode in ("cut", "deaf"):
                    self.close_connection = True
                    return
                if mode == "refuse":
                    status, answer = 503, b"not stored, send it again\n"
                    headers = [("Access-Control-Allow-Origin", "*"), ("Retry-After", "2")]
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)

            do_POST = do_OPTIONS = do_HEAD = do_GET  # noqa: N815 - so they are called

            def log_message(self, *_: object) -> None:
                pass

        self._arms_port = arms_port
        self._server = serve(Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, list[Any], bytes]:
        """Hand a request on to arms."""
        connection = HTTPConnection("127.0.0.1", self._arms_port, timeout=30)
        try:
            connection.request(method, path, body, headers | {"Connection": "close"})
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def note(self, path: str, body: bytes) -> list[dict[str, str]]:
        """Note the beacons of a request; return them."""
        parts_of = urlsplit(path)
        if parts_of.path.startswith("/pirate"):
            found = [dict(parse_qsl(body.decode()))]
        elif body:
            found = [json.loads(line) for line in body.decode().split("\n")]
        else:
            found = [dict(parse_qsl(parts_of.query))]
        site = parts_of.path.rstrip("/").rpartition("/")[2]
        self.beacons += [one | {"site": "bizocean" if site == "swallow" else site} for one in found]
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Server(ThreadingHTTPServer):
    """A server that does not speak of browsers that go away."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        pass


def serve(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """Start a server on a free port of loopback."""
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


class Oceanus:
    """The whole of it, from the gate to the rows."""

    def __init__(self, folder: Path, bigquery: LocalBigQuery) -> None:
        self.redis = RedisProcess(folder)
        (folder / "sites.yaml").write_text(SAMPLE.read_text(encoding="utf-8") + SITES, encoding="utf-8")
        self.environ = settings.environment() | bigquery.environ | self.redis.environ
        self.environ |= {"SITES_FILE": str(folder / "sites.yaml"), "DATA_SET": "browser", "PYTHONUNBUFFERED": "1"}
        read = settings.read(WarehouseSettings, self.environ)
        self.clients = warehouse.connect(read)
        self.queries = warehouse.Queries(self.clients, read.dataset)
        words = [sys.executable, "-m", "table_manager", "--once"]
        subprocess.run(words, env=self.environ, check=True, capture_output=True)
        self.log = (folder / "log").open("ab")
        arms_port, r2bq_port = parts.free_port(), parts.free_port()
        self.children = [
            self.start("arms", LISTEN_ADDRESS="127.0.0.1", PORT=str(arms_port)),
            self.start("tests.browser.quick", PORT=str(r2bq_port)),
        ]
        wait_for_port(arms_port, self.children[0])
        self.gate, self.pages, self.partner = Gate(arms_port), Pages(), Pages()

    def start(self, module: str, **environ: str) -> "subprocess.Popen[bytes]":
        """Start one of our processes."""
        return subprocess.Popen(
            [sys.executable, "-m", module], env=self.environ | environ, stdout=self.log, stderr=self.log
        )

    def close(self) -> None:
        for child in self.children:
            child.terminate()
        for child in self.children:
            end(child)
        for server in (self.gate, self.pages, self.partner):
            server.close()
        self.clients.rest.delete_dataset("local.browser", delete_contents=True, not_found_ok=True)
        self.clients.rest.delete_dataset("local.browser_failed", delete_contents=True, not_found_ok=True)
        end(self.redis.process)
        self.log.close()


class Visit:
    """What one test has sent, and what of it has landed."""

    def __init__(self, oceanus: Oceanus) -> None:
        self.oceanus, self.gate, self.pages, self.partner = oceanus, oceanus.gate, oceanus.pages, oceanus.partner
        self.gate.mode = "pass"
        self._first = len(self.gate.beacons)
        self._first_request = len(self.gate.requests)

    @property
    def beacons(self) -> list[dict[str, str]]:
        """Return every beacon that has reached the gate, each try."""
        return self.gate.beacons[self._first :]

    @property
    def requests(self) -> list[str]:
        """Return every request with beacons that has reached the gate."""
        return self.gate.requests[self._first_request :]

    def url(self, path: str) -> str:
        """Return the address of a page of the owner's."""
        return f"http://shop.localhost:{self.pages.port}{path}"

    def partner_url(self, path: str) -> str:
        """Return the address of a page of the partner's."""
        return f"http://partner.localhost:{self.partner.port}{path}"

    def script(self, name: str = "okeanides.js") -> str:
        """Return the address of a script at arms."""
        return f"{self.gate.url}/static/js/{name}"

    def tag(self, site: str, attributes: str = "", name: str = "okeanides.js") -> str:
        """Return the script tag for a site."""
        return f'<script defer src="{self.script(name)}" data-site="{site}" {attributes}></script>'

    def sends(self, count: int) -> list[dict[str, str]]:
        """Wait until so many beacons, by their names, have reached the gate; return the last try of each."""
        until(lambda: len({one["cid"] for one in self.beacons}) >= count, 20)
        return list({one["cid"]: one for one in self.beacons}.values())

    def rows(self, site: str, count: int, columns: str = COLUMNS) -> list[dict[str, Any]]:
        """Return the rows that the beacons of this test became, in their order; each beacon is exactly one of them.

        Waits until the beacons have passed the gate and nothing of the site is on its way any more.
        """
        until(lambda: len(self._names(site)) >= count and self.gate.handed.issuperset(self._names(site)), 30)
        until(lambda: not self.gate.busy and not self.waiting(site), 30)
        cids = self._names(site)
        wanted = {records.named(site, name): place for place, name in enumerate(cids)}
        listed = ", ".join(f"'{eid}'" for eid in wanted)
        found = self.oceanus.queries.select(f"SELECT {columns} FROM `{site}` WHERE eid IN ({listed})", 10**12)
        names = [name for name, _ in found.columns]
        rows = [dict(zip(names, row, strict=True)) for row in found.rows]
        counted = Counter(row["eid"] for row in rows)
        assert counted == dict.fromkeys(wanted, 1), (len(wanted), counted, self.beacons)
        assert len(rows) == count, rows
        return sorted(rows, key=lambda row: wanted[row["eid"]])

    def _names(self, site: str) -> list[str]:
        return list(dict.fromkeys(one["cid"] for one in self.beacons if one["site"] == site))

    def waiting(self, site: str) -> int:
        """Return how many records of a site are on their way to their rows.

        By the ledger, as a look at one list after the other misses a record that goes back behind it.
        """
        with self.oceanus.redis.client() as client:
            counted = {name.decode(): int(number) for name, number in client.hgetall(key(site, "ledger")).items()}
            failed = [name for name in client.scan_iter(f"{key(site, 'failed')}*") if client.type(name) == b"list"]
            return added(totals(counted, 8).values()).in_flight + sum(client.llen(name) for name in failed)

    def failed(self, site: str) -> list[str]:
        """Return the reasons of the site's failed records."""
        until(lambda: not self.waiting(site), 30)
        sql = f"SELECT reason FROM browser_failed.failed WHERE site = '{site}'"
        return [str(row[0]) for row in self.oceanus.queries.select(sql, 10**12).rows]


@pytest.fixture(scope="session")
def _oceanus(tmp_path_factory: pytest.TempPathFactory, local_bigquery: LocalBigQuery) -> Iterator[Oceanus]:
    whole = Oceanus(tmp_path_factory.mktemp("browser"), local_bigquery)
    yield whole
    whole.close()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A browser for this folder."""
    with running_firefox() if FIREFOX else running_chromium() as running:
        yield running


@pytest.fixture
def visit(_oceanus: Oceanus, browser: Browser) -> Visit:
    """What this test sends, and what of it lands."""
    return Visit(_oceanus)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A visitor whom nobody knows yet."""
    with browser.new_context(locale="en-GB", timezone_id="Asia/Tokyo", viewport={"width": 1280, "height": 800}) as new:
        yield new


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A tab of theirs."""
    return context.new_page()
