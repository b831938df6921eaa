"""What a client sends never becomes a header, a line of a log, a path or SQL of its own."""

import json
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arms import files
from arms.beacons import with_event
from oceanus import logs, sites
from oceanus.errors import MisconfiguredError
from oceanus.settings import LogSettings
from oceanus.tables import Naming
from oceanus.warehouse import Catalog
from revelation.history import question
from tests.arms.conftest import TOKEN, Arms
from tests.arms.serving import Serve
from tests.conftest import RedisProcess, Warehouse

MakeArms = Callable[..., Arms]
CRLF = ["\r\nSet-Cookie: a=b", "\nSet-Cookie: a=b", "\rX: y", "%0d%0aSet-Cookie:%20a=b", "\u2028x", "\x85x", "é\r\n"]
MARK = "Set-Cookie"


@pytest.mark.parametrize("text", CRLF)
def test_no_line_break_that_is_sent_ends_a_header_of_the_answer(arms: Arms, text: str) -> None:
    answers = [
        arms.swallow(sid=text),
        arms.swallow(evt=text * 3),
        arms.client.simulate_get(f"/swallow/{text.replace('?', '')}"),
        arms.client.simulate_get("/gaze/mailaction", params={"evt": "done", "tit": text}),
        arms.client.simulate_post("/swallow/bizocean", body=json.dumps({text: text})),
        arms.client.simulate_get("/pierce/shortener", params={"rad": text, "evt": text}),
        arms.client.simulate_post("/pirate/docreq", body=json.dumps({"sid": text, text: "1"})),
    ]

    for answer in answers:
        assert "set-cookie" not in answer.headers
        for name, value in answer.headers.items():
            assert value.isascii(), name
            assert value.isprintable(), name


@given(st.binary(max_size=60))
def test_a_redirect_repeats_a_query_on_one_line(raw: bytes) -> None:
    told = with_event(b"evt=open&x=" + raw, "see")

    assert told.isascii()
    assert told.isprintable()
    assert " " not in told


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_line_stays_one_line_whatever_is_in_it(
    form: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for hook in (sys, threading):
        monkeypatch.setattr(hook, "excepthook", hook.excepthook)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        logs.start("arms", LogSettings(level="INFO", format=form))
        logging.getLogger("arms").info("said %s", 'a\r\nERROR arms: forged\n{"severity":"ALERT"}\x1b[2J\u2028\x85b')
    finally:
        root.handlers[:], root.level = before, level

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].isprintable()
    if form == "json":
        assert json.loads(lines[0])["severity"] == "INFO"


def test_nothing_that_a_client_sends_is_in_the_log(serve: Serve, redis_server: RedisProcess) -> None:
    server = serve(redis_server, LOG_LEVEL="DEBUG")
    told = {"User-Agent": f"{MARK} agent", "Referer": f"{MARK} page", "X-Forwarded-For": MARK, "Cookie": MARK}

    for path in (f"/swallow/{MARK}", f"/swallow/bizocean?{MARK}={MARK}&sid={MARK}", f"/{MARK}", f"/a%0a{MARK}"):
        assert server.get(path, headers=told).status_code in (400, 404)
    server.raw(b"GET /" + MARK.encode() + b"\x00 HTTP/9\r\n" + MARK.encode() + b"\r\n\r\n")
    server.raw(b"BREW /hc HTTP/1.1\r\nHost: " + MARK.encode() + b"\r\n\r\n")

    assert MARK not in server.log.read_text()
    assert "Traceback" not in server.log.read_text()


TRAVERSALS = [
    "../app.py",
    "..%2fapp.py", "%2e%2e/app.py", "%2e%2e%2fapp.py", "%252e%252e%252fapp.py", "..%5capp.py", "..\\app.py",
    "%c0%ae%c0%ae%c0%afapp.py", "%e0%80%ae%e0%80%ae/app.py", "....//app.py", "/etc/passwd", "%2fetc%2fpasswd",
    "..%00/app.py", "a.js%00.txt", "%00", ".", "..", "%2e", ".hidden", "C:%5cwindows", "a.js/..", "%uff0e%uff0e/app.py",
    "..%ef%bc%8fapp.py", "file:///etc/passwd", "~root", "a.js%0d%0aX:y", "%5c%5chost%5cshare",
]  # fmt: skip


def test_no_path_leads_out_of_the_static_files(serve: Serve, redis_server: RedisProcess) -> None:
    server = serve(redis_server)
    for kind in ("js", "..", "%2e%2e", "html%2f..%2f..", "js/..", ""):
        for name in TRAVERSALS:
            path = f"/static/{kind}/{name}".encode()
            with server.connect(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") as asked:
                answer = asked.makefile("rb").read()
            assert int(answer.split()[1]) in (400, 404), path
            assert b"import" not in answer
            assert b"root:" not in answer


def test_a_static_file_is_found_by_its_plain_name_alone(tmp_path: Path) -> None:
    for name in ("a.js", "a b.js", ".a.js", "a.py", "a"):
        (tmp_path / "js" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "js" / name).write_text("1")
    (tmp_path / "js" / "b.js").mkdir()
    (tmp_path / "c.js").write_text("1")

    found = files.read(tmp_path)

    assert sorted(found["js"]) == ["a.6b86b273ff34fce1.js", "a.js"]


def test_a_link_among_the_static_files_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "static" / "js").mkdir(parents=True)
    (tmp_path / "static" / "js" / "a.js").symlink_to(tmp_path / "secret")

    assert files.read(tmp_path / "static")["js"] == {}


SQL = ["a`; DROP TABLE b; --", "a' OR '1'='1", "a b", "a-b", "a.b", "`a`", "a\nb", "a;b", "ａ", "a/*", 'a"', "a\\"]
FILE = """
shapes:
  one:
    fields:
      dt: {{from: clock, type: TIMESTAMP, mode: REQUIRED}}
      {field}: {{from: query, description: {description}}}
sites:
  {site}: {{method: swallow, shape: one, table: {{name: {table}, cluster: [{cluster}]}}, unknown: {unknown}}}
"""
PLAIN = {"field": "fine", "description": "fine", "site": "shop", "table": "shop", "cluster": "dt", "unknown": "rest"}


@pytest.mark.parametrize("text", SQL)
@pytest.mark.parametrize("place", ["field", "site", "table", "cluster", "unknown"])
def test_a_name_that_carries_sql_stops_the_start(place: str, text: str) -> None:
    with pytest.raises(MisconfiguredError):
        sites.parse(FILE.format(**PLAIN | {place: json.dumps(text)}))


@given(st.text(max_size=30))
def test_every_name_that_is_taken_is_a_plain_word(text: str) -> None:
    for place in ("field", "site", "table", "unknown"):
        try:
            taken = sites.parse(FILE.format(**PLAIN | {place: json.dumps(text)}))
        except MisconfiguredError:
            continue
        for site in taken.values():
            table = Naming("d", "p_").table(site, "2026-11-23")
            words = [site.name, table.name, *(column.name for column in table.columns)]
            assert all(word.isascii() and word.replace("_", "a").isalnum() for word in words)


def test_a_field_that_is_called_like_a_word_of_sql_is_asked_for_by_its_name() -> None:
    text = FILE.format(**PLAIN | {"field": "select"})
    table = Naming("d").table(sites.parse(text)["shop"], "2026-11-23")

    assert "`select`" in question([table], "select", ["select"], 5)
    assert " select " not in question([table], "select", ["select"], 5)


def test_a_description_with_sql_runs_nothing_and_is_kept_as_it_is(warehouse: Warehouse) -> None:
    words = "'; DROP TABLE x; -- `\\\n\""
    site = sites.parse(FILE.format(**PLAIN | {"description": json.dumps(words)}))["shop"]
    naming, catalog = Naming(warehouse.settings.dataset), Catalog(warehouse.clients)
    catalog.create_dataset(naming.dataset, words)
    catalog.create(naming.table(site, "2026-11-23"))

    standing = catalog.find(f"{naming.dataset}.shop")

    assert standing is not None
    assert {column.name: column.description for column in standing.columns}["fine"] == words


@pytest.mark.parametrize("proxies", [0, 1, 2, 3])
def test_a_forged_forwarded_for_makes_nobody_internal(make_arms: MakeArms, proxies: int) -> None:
    arms = make_arms(proxies=proxies)
    behind = ["203.0.113.9", *(f"35.191.0.{number}" for number in range(proxies - 1))][:proxies]
    for forged in ("127.0.0.1", "192.168.0.1", "::1", "127.0.0.1, 127.0.0.1, 127.0.0.1", "::ffff:127.0.0.1", ",,,"):
        told = {"X-Forwarded-For": ", ".join([forged, *behind]), "Forwarded": "for=127.0.0.1", "X-Real-IP": "127.0.0.1"}
        answer = arms.client.simulate_get("/metrics", headers=told, remote_addr="203.0.113.9")
        assert answer.status_code == 403


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_behind_a_proxy_that_nobody_declared_nobody_is_internal(arms: Arms, name: str) -> None:
    proxied = arms.client.simulate_get("/metrics", headers={name: "203.0.113.9"}, remote_addr="127.0.0.1")

    assert (proxied.status_code, arms.get("/metrics").status_code) == (403, 200)


@pytest.mark.parametrize("host", ["evil.example", 'a"><script>', "a b", "", "a\\b", "internal", "[::1]:80", "a" * 8000])
def test_a_host_header_decides_nothing_but_the_address_in_a_static_file(arms: Arms, host: str) -> None:
    same = [arms.client.simulate_get(path, headers={"Host": host}) for path in ("/metrics", "/hc", "/swallow/bizocean")]

    assert [answer.status_code for answer in same] == [200, 200, 400]
    assert not any("evil" in value for answer in same for value in answer.headers.values())


def test_a_token_is_believed_whole_or_not_at_all(arms: Arms) -> None:
    for given_token in (TOKEN[:-1], TOKEN + "x", "", TOKEN.upper(), f"{TOKEN},{TOKEN}", "ä", "*"):
        told = {"Authorization": f"Bearer {given_token}".encode().decode("latin-1")}
        assert arms.swallow(headers=told).status_code == 403
    assert arms.spool.records("bizocean") == []
