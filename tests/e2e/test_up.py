"""The whole of oceanus by its one command, as a newcomer runs it."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import termios
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from arms.devices import device
from management import parts
from management.programs import SAMPLE_ALERTS
from oceanus import records
from oceanus.settings import RedisSettings, read
from oceanus.sites import SAMPLE
from oceanus.spool import Push, Pusher, connect, connect_pusher
from tests.conftest import end, until

OCEANUS = str(Path(sys.executable).with_name("oceanus"))
BEACON = "/swallow/bizocean?oid=2&evt=pageview&sid=86895a04e5a59600&url=https%3A%2F%2Fshop.example%2F"
ACCESS_LOG = Path(__file__).parents[3] / "shared" / "data" / "access.log"
READY_SECONDS = 90


@dataclass
class Up:
    """A running `oceanus up` in a folder of its own."""

    folder: Path
    environ: dict[str, str]
    lines: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Start it and read its log up to `ready:`."""
        self.process = self.popen()
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("ready: "):
                self.url = line.removeprefix("ready: ").strip()
                self._follow()
                return
        raise AssertionError("it ended before ready:\n" + "\n".join(self.lines[-30:]))

    def popen(self) -> "subprocess.Popen[str]":
        """Start the process."""
        return subprocess.Popen([OCEANUS, "up"], env=self.environ, stdout=subprocess.PIPE, text=True)

    def _follow(self) -> None:
        """Leave its log to a file, which it writes itself, and keep its pipe from filling."""
        self._reader = subprocess.Popen(["cat"], stdin=self.process.stdout, stdout=subprocess.DEVNULL)

    def log(self) -> str:
        """Return the whole of up.log."""
        return (Path(self.environ["DATA_DIR"]) / "up.log").read_text(encoding="utf-8")

    def stop(self, number: int = signal.SIGINT) -> int:
        """Stop it as Ctrl-C does, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run another command of `oceanus` beside it."""
        return subprocess.run(
            [OCEANUS, *words], env=self.environ, capture_output=True, text=True, timeout=120, check=False
        )

    def sql(self, query: str) -> list[dict[str, object]]:
        """Return what `oceanus sql` answers."""
        run = self.run("sql", query, "--format", "json")
        assert run.returncode == 0, run.stderr
        rows: list[dict[str, object]] = json.loads(run.stdout)
        return rows

    def status(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return what `oceanus status` answers."""
        status: dict[str, dict[str, dict[str, float]]] = json.loads(self.run("status", "--format", "json").stdout)
        return status


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A running `oceanus up`, on free ports."""
    environ = {"DATA_DIR": str(tmp_path / "data"), "PORT": str(parts.free_port()), "HOME": str(tmp_path)}
    running = Up(tmp_path, environ | {"PATH": os.environ["PATH"]})
    running.start()
    yield running
    end(running.process, 60)


def test_a_beacon_becomes_a_row_and_stays_over_a_restart(up: Up) -> None:
    assert httpx.get(up.url.rstrip("/") + BEACON).status_code == 200

    count = "SELECT COUNT(*) AS n FROM bizocean WHERE sid = '86895a04e5a59600'"
    until(lambda: up.sql(count) == [{"n": 1}])
    site = up.status()["sites"]["bizocean"]
    assert (site["queue"], site["claimed"], site["failed"], site["landed"]) == (0, 0, 0, 1)

    assert up.stop() == 0
    gone = up.run("sql", count)
    assert gone.returncode == 1
    assert "nothing runs in" in gone.stderr
    up.start()
    assert up.sql(count) == [{"n": 1}]


def test_what_was_accepted_lands_before_the_stop(up: Up) -> None:
    with httpx.Client(base_url=up.url) as client:
        for _ in range(100):
            assert client.get(BEACON).status_code == 200

    assert up.stop(signal.SIGTERM) == 0

    up.start()
    assert up.status()["total"]["landed"] == 100


def test_a_killed_child_is_started_again_and_nothing_is_lost(up: Up) -> None:
    for name in ("r2bq", "arms", "redis", "bigquery"):
        os.kill(children(up)[name], signal.SIGKILL)
        until(lambda: _answers(up.url.rstrip("/") + BEACON), 60)

    accepted = "SELECT COUNT(*) AS n, COUNT(DISTINCT eid) AS ids FROM bizocean"
    until(lambda: up.status()["total"]["queue"] + up.status()["total"]["claimed"] == 0, 90)
    [row] = up.sql(accepted)
    assert row["n"] == row["ids"] == up.status()["total"]["landed"]
    assert int(str(row["n"])) >= 4
    audit = up.run("audit", "--format", "json")
    assert (audit.returncode, json.loads(audit.stdout)["total"]["landed"]) == (0, row["n"])


def test_the_audit_names_a_row_that_is_gone_and_one_that_is_there_twice(up: Up) -> None:
    for path in ("/swallow/bizocean", "/swallow/skj"):
        for _ in range(5):
            assert httpx.get(up.url.rstrip("/") + BEACON.replace("/swallow/bizocean", path)).status_code == 200
    until(lambda: up.status()["total"]["landed"] == 10)
    agrees = up.run("audit")

    [site] = up.sql("SELECT eid FROM bizocean LIMIT 1")
    [daily] = up.sql("SELECT table_name FROM INFORMATION_SCHEMA.TABLES WHERE table_name LIKE 'skj%' LIMIT 1")
    change(up, f"DELETE FROM bizocean WHERE eid = '{site['eid']}'")
    change(up, f"INSERT INTO {daily['table_name']} SELECT * FROM {daily['table_name']} LIMIT 1")
    differs = up.run("audit", "--format", "json")

    assert (agrees.returncode, agrees.stdout.splitlines()[-1]) == (0, "audit: agrees")
    told = json.loads(differs.stdout)["sites"]
    assert differs.returncode == 1
    assert (told["bizocean"]["missing"], told["bizocean"]["doubled"]) == (1, 0)
    assert (told["skj"]["missing"], told["skj"]["doubled"]) == (0, 1)
    verdicts = (
        "SELECT verdict, COUNT(*) AS n FROM audit WHERE site IN ('bizocean', 'skj') AND verdict != 'open'"
        " GROUP BY verdict ORDER BY verdict"  # open: table_manager's own audit may have met a beacon on its way
    )
    assert [row["verdict"] for row in up.sql(verdicts)] == ["agrees", "differs", "partly"]


def test_the_audit_shouts_at_a_new_redis_and_a_removed_site_until_somebody_looks(up: Up) -> None:
    redis = json.loads((Path(up.environ["DATA_DIR"]) / "up.json").read_text())["redis"]
    environ = {"REDIS_PD_SERVICE_HOST": redis["host"], "REDIS_PD_SERVICE_PORT": str(redis["port"])}
    assert httpx.get(up.url.rstrip("/") + BEACON).status_code == 200
    until(lambda: up.status()["total"]["landed"] == 1)
    first = up.run("audit")
    connect(read(RedisSettings, environ)).flushall()
    assert httpx.get(up.url.rstrip("/") + BEACON).status_code == 200  # its push is a gap: it is judged in a minute
    assert httpx.get(up.url.rstrip("/") + BEACON).status_code == 200
    until(lambda: up.status()["total"]["landed"] == 1)

    alarmed, told = up.run("audit"), json.loads(up.run("audit", "--format", "json").stdout)
    acknowledged, again = up.run("audit", "--acknowledge"), up.run("audit")
    store_one_record("removed", read(RedisSettings, environ))
    removed = up.run("audit")

    assert (first.returncode, first.stderr) == (0, "")
    assert alarmed.returncode == 1
    assert re.findall("^alarm: (.*?):", alarmed.stderr, re.MULTILINE) == ["bizocean", "a new Redis"]
    assert (len(told["alarms"]), told["total"]["missing"]) == (2, 0)
    assert (acknowledged.returncode, acknowledged.stderr.count("acknowledged: ")) == (0, 2)
    assert (again.returncode, again.stderr) == (0, "")
    assert removed.returncode == 1
    assert removed.stderr == f"removed: 1 record waits, but {SAMPLE} does not declare it: nobody drains it\n"


def test_a_bad_beacon_is_a_row_of_the_failed_table(up: Up) -> None:
    assert httpx.get(up.url.rstrip("/") + BEACON.replace("sid=", "sid=XYZ")).status_code == 400

    until(lambda: up.sql("SELECT COUNT(*) AS n FROM oceanus_failed.failed") == [{"n": 1}])

    [failed] = up.sql("SELECT site, stage, reason FROM oceanus_failed.failed")
    assert (failed["site"], failed["stage"]) == ("bizocean", "rules")
    assert str(failed["reason"]).startswith("sid: ")
    assert up.status()["sites"]["bizocean"]["failed"] == 1


def test_the_sample_tells_of_a_sale_in_the_log_and_tail_shows_it(up: Up) -> None:
    sale = BEACON.replace("evt=pageview", "evt=paid") + '&jsn={"price":12000}'
    words = [OCEANUS, "tail", "--site", "bizocean", "--where", "{evt: paid}", "--limit", "1"]
    tail = subprocess.Popen(words, env=up.environ, stdout=subprocess.PIPE, text=True)
    sent = 0
    while tail.poll() is None:  # it may take a moment until it listens
        assert httpx.get(up.url.rstrip("/") + sale).status_code == 200
        sent += 1
        assert sent < 300
        time.sleep(0.2)
    until(lambda: up.log().count("revelation.printing: paid 12000") == sent)

    [shown] = (json.loads(line) for line in tail.communicate()[0].splitlines())
    assert (shown["evt"], shown["jsn"]) == ("paid", '{"price":12000}')
    assert up.run("alerts", "failed", "list").stdout == "nothing has failed\n"


def test_a_newcomer_sees_news_alone_and_where_the_rest_is(up: Up) -> None:
    shown = "\n".join(up.lines)

    assert not re.search(r'oO0O|Configuration loaded|overcommit|Press CTRL|" [1-4]\d\d ', shown)
    assert re.search(r"oO0O", up.log())
    assert re.search(r'" 404 Not Found', up.log())
    console = json.loads((Path(up.environ["DATA_DIR"]) / "up.json").read_text())["console"]
    assert up.lines[-5:] == [
        f"up            | sites file: {SAMPLE}",
        f"up            | alerts file: {SAMPLE_ALERTS}",
        f"up            | every line, also those not shown here: {up.environ['DATA_DIR']}/up.log",
        f"console: {console}",
        up.lines[-1],
    ]
    assert "Listening at: http://127.0.0.1:" in shown


def test_records_of_removed_sites_are_named_before_ready(up: Up) -> None:
    redis = json.loads((Path(up.environ["DATA_DIR"]) / "up.json").read_text())["redis"]
    environ = {"REDIS_PD_SERVICE_HOST": redis["host"], "REDIS_PD_SERVICE_PORT": str(redis["port"])}
    store_one_record("removed", read(RedisSettings, environ))
    assert up.stop() == 0
    assert "left in Redis for the next start: removed 1" in up.log()

    up.lines.clear()
    up.start()

    told = f"up            | removed: 1 record waits, but {SAMPLE} does not declare it: nobody drains it"
    assert up.lines.index(told) < len(up.lines) - 1


def test_a_stop_that_waits_for_the_drain_says_so(up: Up) -> None:
    os.kill(children(up)["r2bq"], signal.SIGSTOP)
    assert httpx.get(up.url.rstrip("/") + BEACON).status_code == 200

    up.process.send_signal(signal.SIGTERM)
    until(lambda: "waiting up to 25 s for 1 record to be written" in up.log())
    os.kill(children(up)["r2bq"], signal.SIGCONT)

    assert up.process.wait(60) == 0
    assert "left in Redis" not in up.log()


def test_a_second_ctrl_c_stops_the_waiting_for_arms(up: Up) -> None:
    assert httpx.get(up.url.rstrip("/") + BEACON).status_code == 200
    os.kill(children(up)["arms"], signal.SIGSTOP)  # it cannot hear that it is to stop

    up.process.send_signal(signal.SIGINT)
    until(lambda: "waiting up to 25 s for arms to answer what it holds" in up.log())
    began = time.monotonic()

    assert up.stop() == 0
    assert time.monotonic() - began < 15
    assert "up            | arms is not waited for any longer: killed" in up.log()
    up.start()
    until(lambda: up.status()["total"]["landed"] == 1)


def test_sql_on_a_terminal_folds_nothing(up: Up) -> None:
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 60))
    words = [OCEANUS, "sql", "SELECT TIMESTAMP '2026-11-22 10:00:00.000001' AS dt, REPEAT('x', 70) AS url"]

    assert subprocess.run(words, env=up.environ, stdout=theirs, timeout=60, check=False).returncode == 0

    os.close(theirs)
    shown = os.read(ours, 10_000).decode().splitlines()
    assert shown == ["-[ row 1 ]-", " dt: 2026-11-22T10:00:00.000001Z", f"url: {'x' * 70}"]


@pytest.mark.skipif(not ACCESS_LOG.exists(), reason="the real log is not part of the product")
def test_a_real_log_is_replayed_whole_and_its_counts_agree(up: Up) -> None:
    run = up.run("replay", str(ACCESS_LOG), "--site", "bizocean")

    assert run.returncode == 0, run.stderr
    assert "5000" in run.stdout
    until(lambda: up.status()["sites"]["bizocean"]["landed"] == 5000, 60)
    assert up.sql("SELECT COUNT(*) AS n, COUNT(DISTINCT eid) AS ids FROM bizocean") == [{"n": 5000, "ids": 5000}]
    top, visitors, devices, statuses = (up.sql(query) for query in readme_queries())
    lines = [parsed.groupdict() for parsed in map(LINE.match, ACCESS_LOG.open(encoding="utf-8")) if parsed]
    assert len(lines) == 5000
    pages = Counter(line["url"][:1024] for line in lines)
    assert top == [{"url": url, "views": n} for url, n in sorted(pages.items(), key=lambda one: (-one[1], one[0]))[:10]]
    assert visitors == [{"day": day, "visitors": n} for day, n in sorted(visitors_by_day(up, lines).items())]
    kinds = Counter(device(line["agent"] if line["agent"] != "-" else "") for line in lines)
    assert {str(row["dev"]): row["views"] for row in devices} == kinds
    assert {row["status"]: row["views"] for row in statuses} == Counter(int(line["status"]) for line in lines)


LINE = re.compile(
    r'(?P<address>\S+) \S+ \S+ \[(?P<time>[^\]]+)\] "\S+ (?P<url>\S+) [^"]*" (?P<status>\d+) \S+ '
    r'"[^"]*" "(?P<agent>.*)"$'
)


def readme_queries() -> list[str]:
    """Return the four queries that the README shows for a replayed log."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    return re.findall(r'^oceanus sql "(SELECT .* GROUP BY .*)"$', text, re.MULTILINE)


def visitors_by_day(up: Up, lines: list[dict[str, str]]) -> dict[str, int]:
    """Return how many visitors each day has, by the log itself, its times moved as the table's last row says."""
    times = [datetime.strptime(line["time"], "%d/%b/%Y:%H:%M:%S %z") for line in lines]
    [last] = up.sql("SELECT MAX(dt) AS dt FROM bizocean")
    shift = datetime.fromisoformat(str(last["dt"])) - max(times)
    days: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for line, time_told in zip(lines, times, strict=True):
        days[str((time_told + shift).date())].add((line["address"], line["agent"]))
    return {day: len(visitors) for day, visitors in days.items()}


def store_one_record(site: str, settings: RedisSettings) -> None:
    """Push a record as arms does."""
    us = time.time_ns() // 1000
    text = records.encode({"v": 1, "eid": records.mint(us), "dt": records.time_text(us)})
    push = Push(
        site=site,
        source="queue",
        minute=records.minute(records.time_text(us)),
        digest=records.digest(records.decode(text)["eid"]),
        last_ms=us // 1000,
        records=[text],
    )

    async def store() -> None:
        pusher = Pusher(connect_pusher(settings, 5), "test", 1)
        assert await pusher.push([push], 5) == [None]
        await pusher.close()

    asyncio.run(store())


def children(up: Up) -> dict[str, int]:
    """Return the process ids of what it runs, by name."""
    running: dict[str, int] = json.loads((Path(up.environ["DATA_DIR"]) / "up.json").read_text())["children"]
    return running


def change(up: Up, statement: str) -> None:
    """Change rows in the local BigQuery by hand, as `oceanus sql` never would."""
    target = json.loads((Path(up.environ["DATA_DIR"]) / "up.json").read_text())["bigquery"]
    client = bigquery.Client(
        project=target["project"],
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=target["rest"]),
    )
    client.query_and_wait(statement, job_config=bigquery.QueryJobConfig(default_dataset=f"{target['project']}.oceanus"))


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
