"""`oceanus verify`: real pages on this machine, a real arms, and what became of the beacon."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from management import commands, fetching
from management.snippet import snippet
from management.snippet_commands import served
from oceanus import sites
from tests.conftest import Warehouse
from tests.drills.machine import Machine

TAG = '<script defer src="{arms}/static/js/okeanides.js" data-site="shop"></script>'


@dataclass
class Pages:
    """A web server of somebody's: what it answers by path, as status, headers and body."""

    url: str = ""
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)

    def put(self, path: str, body: str, status: int = 200, **headers: str) -> str:
        """Answer a path from now on; return its whole address."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = (status, {"Content-Type": "text/html; charset=utf-8"} | told, body.encode())
        return f"{self.url}{path}"


@pytest.fixture
def pages() -> Iterator[Pages]:
    """A web server on a free port."""
    found = Pages()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = found.answers.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        found.url = f"http://127.0.0.1:{server.server_port}"
        yield found
        server.shutdown()


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing run here, and nothing be named."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    for name in ("SITES_FILE", "PROJECT_ID", "BIGQUERY_EMULATOR_HOST", "REDIS_PD_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)


def verified(*words: str) -> tuple[int, dict[str, list[str]], Result]:
    """Return the exit code and, by what it is about, the states that `oceanus verify` tells."""
    run = CliRunner().invoke(commands.oceanus, ["verify", *words, "--format", "json"])
    told: dict[str, list[str]] = {}
    for one in json.loads(run.stdout) if run.stdout.startswith("[") else []:
        told.setdefault(one["about"], []).append(one["state"])
    return run.exit_code, told, run


@pytest.mark.local
def test_a_page_is_followed_until_its_beacon_is_a_row(
    tmp_path: Path, warehouse: Warehouse, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path, warehouse)
    try:
        machine.run("systemctl start oceanus.service")
        monkeypatch.setenv("DATA_DIR", str(machine.data))
        monkeypatch.setenv("SITES_FILE", str(machine.sites_file))
        shop = sites.load(str(machine.sites_file))["shop"]
        tag = snippet(shop, machine.url, "tag", served(shop))
        page = pages.put("/", f"<!doctype html><title>x</title>{tag}")
        moved = pages.put("/old", "", 301, Location="/")
        strict = {"Content_Security_Policy": f"default-src 'self'; script-src {machine.url}"}
        blocked = pages.put("/blocked", tag, **strict)
        managed = pages.put("/managed", '<script src="https://www.googletagmanager.com/gtm.js?id=1"></script>')
        strange = pages.put("/strange", tag.replace('"shop"', '"nobody"'))
        changed = pages.put("/changed", tag.replace("sha384-", "sha384-AAAA"))

        first = verified(page)
        again = verified(moved)
        policy = verified(blocked, "--no-beacon")
        manager = verified(managed, "--site", "shop", "--url", machine.url)
        wrong = verified(changed, "--no-beacon")
        misspelt = verified(strange, "--no-beacon")
        monkeypatch.setenv("SITES_FILE", str(sites.SAMPLE))
        foreign = verified(page)
    finally:
        machine.close()

    fine = {"page": ["ok"], "tag": ["ok"], "policy": ["ok"], "script": ["ok"], "beacon": ["ok"], "arrival": ["ok"]}
    assert first[:2] == (0, fine | {"last": ["warning"]})  # none had ever come
    assert again[:2] == (0, fine | {"last": ["ok"]})
    assert f"{moved} -> {page} answers 200" in again[2].stdout
    assert policy[:2] == (
        1, {"page": ["ok"], "tag": ["ok"], "policy": ["wrong"], "script": ["ok"], "last": ["ok"]},
    )  # fmt: skip
    assert f"default-src 'self' refuses {machine.url}/swallow/shop" in policy[2].stdout
    assert manager[:2] == (
        0, {"page": ["ok"], "tag": ["warning"], "policy": ["ok"], "beacon": ["ok"], "arrival": ["ok"], "last": ["ok"]},
    )  # fmt: skip
    assert (foreign[0], foreign[1]["beacon"]) == (0, ["warning"])
    assert (misspelt[0], misspelt[1]["beacon"]) == (1, ["wrong"])
    assert f"{machine.url}/swallow/nobody answers 404" in misspelt[2].stdout
    assert (wrong[0], wrong[1]["script"]) == (1, ["wrong"])
    assert machine.landed() == ["test"] * 3


def test_without_our_side_it_says_what_cannot_be_seen(
    alone: None, pages: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "sites.yaml"
    file.write_text(sites.SAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setenv("SITES_FILE", str(file))
    pages.put("/static/js/okeanides.js", "1")
    pages.put("/swallow/bizocean", "GIF")
    page = pages.put("/", TAG.format(arms=pages.url).replace("shop", "bizocean"))

    code, told, run = verified(page, "--no-beacon")

    assert (code, told["script"], told["last"]) == (0, ["ok"], ["warning"])
    assert f"cannot be seen from here: nothing runs in {tmp_path}: make up" in run.stdout


@pytest.mark.parametrize(
    ("path", "body", "status", "headers", "words"),
    [
        ("/a", "", 404, {}, "answers 404"),
        ("/b", "<p>hello</p>", 200, {}, "oceanus snippet --site NAME"),
        ("/c", "", 302, {"Location": "/c"}, "redirects more than 5 times"),
        ("/d", "", 302, {"Location": "file:///etc/passwd"}, "redirects to file:///etc/passwd, which is not followed"),
        ("/e", "", 302, {"Location": "http://[x/"}, "http://[x/: no answer"),
        ("/f", f"<p>{'x' * fetching.MOST_BYTES}{TAG}", 200, {}, "only its first 2,000,000 bytes were read"),
        ("/g", "\x1b[31m", 200, {"Content-Type": "text/\x9b31m"}, "text/\\\\x9b31m"),
    ],
)
def test_a_page_that_is_none_ends_it_with_a_line(
    alone: None, pages: Pages, path: str, body: str, status: int, headers: dict[str, str], words: str
) -> None:
    page = pages.put(path, body, status)
    pages.answers[path][1].update(headers)

    code, _, run = verified(page)

    assert (code, words in run.stdout) == (1, True), run.stdout


def test_nobody_there_is_a_line_and_what_is_no_page_a_wrong_use(alone: None) -> None:
    code, told, _ = verified("http://127.0.0.1:1/")
    uses = [
        verified(*words)[0]
        for words in (["ftp://a/"], ["http://[x/"], ["shop.example"], ["http://a/", "--site", "shop"])
    ]

    assert (code, told) == (1, {"page": ["wrong"]})
    assert uses == [2, 2, 2, 2]


def test_the_text_has_a_remedy_below_each_line_that_is_not_right(alone: None, pages: Pages) -> None:
    run = CliRunner().invoke(commands.oceanus, ["verify", pages.put("/", "<p>")])

    assert [line.split()[0] for line in run.stdout.splitlines()] == ["ok", "wrong", "->", "ok"]
