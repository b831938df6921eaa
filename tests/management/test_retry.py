"""Failed records sent again, on a real Redis and the local BigQuery: each once, and the audit agrees all the time."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from arms.devices import device
from arms.intake import Accepted, Intake, Rejected, Sent
from arms.parameters import pairs
from management import commands
from oceanus import records, sites
from oceanus import warehouse as warehouses
from oceanus.audit import judge
from oceanus.pushes import Push
from oceanus.records import Failed
from oceanus.spool import Spool, key
from oceanus.tables import Naming, Table
from r2bq.drain import Drain
from r2bq.source import Source
from r2bq.standing import Warehouse
from tests.oceanus.test_spool import fly

STRICT = """
shapes:
  search:
    fields:
      dt: {from: clock, type: TIMESTAMP, mode: REQUIRED}
      q: {from: query, rule: {type: string, required: true, maxlength: 3}}
      ua: {from: "header:User-Agent", rule: {type: string, default: "", empty: true}}
sites:
  search: {method: swallow, shape: search, batch: {rows: 50, seconds: 1}, alerts: true}
"""
LAX = STRICT.replace("maxlength: 3", "maxlength: 30")


class Deployment:
    """A site with its Redis and tables, drained by the real drain, and the operator's command beside it."""

    def __init__(self, redis_server, spool: Spool, warehouse, folder: Path) -> None:
        self.server, self.spool, self.warehouse = redis_server, spool, warehouse
        self.client = redis_server.client()
        self.naming = Naming(warehouse.settings.dataset)
        self.file = folder / "sites.yaml"
        self.declare(STRICT)
        self.ago_us = 0
        self.patience = ThreadPoolExecutor(2)
        self._writers = 0
        table = self.naming.table(self.site, "2026-11-22")
        self.create(replace(table, columns=tuple(self._narrow(column) for column in table.columns)))
        self.create(self.naming.failed)

    @staticmethod
    def _narrow(column):
        """Let BigQuery refuse records without an agent, which the rules let through."""
        return replace(column, mode="REQUIRED") if column.name == "ua" else column

    def create(self, table: Table) -> None:
        self.warehouse.catalog.create_dataset(table.dataset, "for a test")
        self.warehouse.catalog.create(table)

    def declare(self, text: str) -> None:
        self.file.write_text(text, encoding="utf-8")
        self.site = sites.parse(text)["search"]

    def send(self, *queries: str) -> list[Accepted | Rejected]:
        """Send beacons as arms stores them."""
        taken = []
        for query in queries:
            now_us = time.time_ns() // 1000 - self.ago_us
            sent = Sent(
                parameters=pairs(query.encode()),
                headers={"user-agent": "Mozilla/5.0"},
                address="192.0.2.1",
                now_us=now_us,
                route="/swallow/search",
                raw=query,
            )
            found = Intake(self.site, device).take(sent)
            assert isinstance(found, Accepted | Rejected)
            taken.append(found)
            self.push("queue" if isinstance(found, Accepted) else "failed", found)
        return taken

    def push(self, source: str, found: Accepted | Rejected) -> None:
        text = found.text if isinstance(found, Accepted) else found.failed.encode()
        self.push_text(source, text, found.eid if isinstance(found, Accepted) else found.failed.fid)

    def push_text(self, source: str, text: bytes, eid: str) -> None:
        push = Push(
            site="search",
            source=source,
            minute=records.minute(records.time_text(records.received_us(eid))),
            digest=records.digest(eid),
            last_ms=records.received_us(eid) // 1000,
            records=[text],
        )
        assert fly(self.server, [push]) == [[None]]

    def accept_without_agent(self, q: str) -> str:
        """Push an accepted record that BigQuery will refuse, and return its id."""
        now_us = time.time_ns() // 1000 - self.ago_us
        eid = records.mint(now_us)
        self.push_text("queue", records.encode({"v": 1, "eid": eid, "dt": records.time_text(now_us), "q": q}), eid)
        return eid

    def drain(self) -> None:
        """Drain both lists until nothing moves."""
        parts = Warehouse(
            self.warehouse.catalog,
            warehouses.Queries(self.warehouse.clients, self.naming.dataset),
            warehouses.Writer(self.warehouse.clients),
        )
        for source in ("queue", "failed"):
            drain = Drain(
                Source(self.site, source, self.naming),
                self.spool,
                parts,
                new_writer=self._name,
                patience=self.patience,
                max_bytes=3_000_000,
            )
            while drain.step():
                pass
            drain.release()

    def _name(self) -> str:
        self._writers += 1
        return f"w{self._writers}"

    def run(self, *words: str) -> Result:
        environ = self.warehouse.environ | self.server.environ | {"SITES_FILE": str(self.file)}
        return CliRunner().invoke(commands.oceanus, ["failed", *words], env=environ)

    def listed(self, *words: str) -> list[dict[str, object]]:
        found = self.run("list", "--format", "json", *words)
        assert found.exit_code == 0, found.output
        rows: list[dict[str, object]] = json.loads(found.stdout)
        return rows

    def fids(self, *words: str) -> list[str]:
        return [str(row["fid"]) for row in self.listed("--each", *words)]

    def landed(self) -> list[object]:
        return [row[0] for row in self.warehouse.rows("SELECT q FROM search ORDER BY q")]

    def audit(self) -> tuple[bool, int]:
        """Return whether the audit agrees, and how many it says are in flight."""
        before = self.spool.ledger("search")
        queries = warehouses.Queries(self.warehouse.clients, self.naming.dataset)
        landed = queries.count(f"{self.naming.dataset}.search", sorted(before.days), True, 10**9)
        found = judge(before, self.spool.ledger("search"), landed, set(before.days))
        return not found.differs, found.waiting


@pytest.fixture
def deployment(redis_server, spool, warehouse, tmp_path) -> Iterator[Deployment]:
    made = Deployment(redis_server, spool, warehouse, tmp_path)
    yield made
    made.client.close()
    made.patience.shutdown()


def test_a_rejected_beacon_becomes_one_row_after_the_rules_are_mended(deployment: Deployment) -> None:
    [good, bad] = deployment.send("q=cat", "q=poodle")
    deployment.drain()
    [group] = deployment.listed()
    still = deployment.run("retry", "--site", "search")

    deployment.declare(LAX)
    dry = deployment.run("retry", bad.failed.fid, "--dry-run")
    untouched = deployment.landed()
    first, second = deployment.run("retry", "--site", "search"), deployment.run("retry", bad.failed.fid)
    flying = deployment.audit()
    deployment.drain()
    third = deployment.run("retry", "--site", "search", "--stage", "rules", "--reason", "MAX LENGTH", "--since", "1h")

    assert (group["stage"], group["reason"], group["records"], group["sent_again"]) == (
        "rules", "q: max length is 3", 1, 0,
    )  # fmt: skip
    assert group["example"] == bad.failed.fid
    assert still.exit_code == 1
    assert still.stdout == "sent again 0, were sent before 0, cannot be sent 1\n"
    assert still.stderr == f"search: still rejected: q: max length is 3: 1 (such as {bad.failed.fid})\n"
    assert (dry.exit_code, dry.stdout) == (0, "would be sent 1, were sent before 0, cannot be sent 0\n")
    assert untouched == ["cat"]
    assert (first.exit_code, first.stdout) == (0, "sent again 1, were sent before 0, cannot be sent 0\n")
    for again in (second, third):
        assert (again.exit_code, again.stdout) == (0, "sent again 0, were sent before 1, cannot be sent 0\n")
    assert deployment.warehouse.rows("SELECT eid, q, ua, dt FROM search ORDER BY q")[1][:3] == (
        bad.failed.fid, "poodle", "Mozilla/5.0",
    )  # fmt: skip
    assert deployment.landed() == ["cat", "poodle"]
    assert (flying, deployment.audit()) == ((True, 1), (True, 0))
    assert deployment.listed()[0]["sent_again"] == 1
    assert isinstance(good, Accepted)
    alerts = deployment.client.lrange(key("search", "alerts"), 0, -1)
    assert [records.decode(text)["q"] for text in alerts] == ["poodle"]


def test_a_refused_record_is_in_flight_again_and_lands_once_its_table_takes_it(deployment: Deployment) -> None:
    deployment.send("q=cat")
    eid = deployment.accept_without_agent("dog")
    deployment.drain()
    before = deployment.audit()
    [fid] = deployment.fids("--stage", "write")

    once = deployment.run("retry", fid)
    flying = deployment.audit()
    deployment.drain()  # BigQuery refuses it once more: another failed record of the same event
    failed_again = deployment.audit()
    other, old = deployment.fids()
    deployment.warehouse.clients.rest.query_and_wait(
        f"ALTER TABLE `{deployment.naming.dataset}.search` ALTER COLUMN ua DROP NOT NULL"
    )
    twice = deployment.run("retry", "--site", "search")
    deployment.drain()

    assert (once.exit_code, once.stdout) == (0, "sent again 1, were sent before 0, cannot be sent 0\n")
    assert (twice.exit_code, twice.stdout) == (0, "sent again 1, were sent before 1, cannot be sent 0\n")
    assert old == fid != other
    assert deployment.warehouse.rows("SELECT eid FROM search WHERE q = 'dog'") == [(eid,)]
    assert [before, flying, failed_again, deployment.audit()] == [(True, 0), (True, 1), (True, 0), (True, 0)]
    ledger = deployment.spool.ledger("search")
    assert [day.failed for day in ledger.days.values()] == [0]


def test_after_redis_was_emptied_nothing_is_sent_twice(deployment: Deployment) -> None:
    deployment.ago_us = 600_000_000  # what came in the minute of the loss itself, the audit calls different
    [bad, lost] = deployment.send("q=poodle", "q=badger")
    deployment.accept_without_agent("dog")
    deployment.drain()
    deployment.declare(LAX)
    [dog] = deployment.fids("--stage", "write")
    assert deployment.run("retry", bad.failed.fid, dog).exit_code == 0
    deployment.drain()  # poodle lands, dog is refused once more
    deployment.client.flushall()

    dry = deployment.run("retry", "--site", "search", "--dry-run")
    again = deployment.run("retry", "--site", "search")
    deployment.drain()
    more = deployment.run("retry", "--site", "search", "--stage", "rules", "--verify")

    assert dry.stdout == "would be sent 2, were sent before 2, cannot be sent 0\n"
    assert again.stdout == "sent again 2, were sent before 2, cannot be sent 0\n"
    assert deployment.landed() == ["badger", "poodle"]
    assert more.stdout == "sent again 0, were sent before 2, cannot be sent 0\n"
    assert deployment.spool.retried("search").keys() >= {lost.failed.fid}
    assert deployment.audit() == (True, 0)
    assert all(day.failed >= 0 for day in deployment.spool.ledger("search").days.values())


def test_a_retry_that_is_killed_anywhere_is_simply_run_again(deployment: Deployment, monkeypatch) -> None:
    sent = deployment.send(*(f"q=word{number}" for number in range(8)))
    deployment.drain()
    deployment.declare(LAX)

    class Dying(Spool):
        """A spool whose process is killed in the middle of a chunk, after Redis has run a part of it."""

        def retry(self, site, retries, **named):
            super().retry(site, retries[:3], **named)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("oceanus.shards.Spool", Dying)
        killed = deployment.run("retry", "--site", "search")
    again = deployment.run("retry", "--site", "search")
    deployment.drain()

    assert (killed.exit_code, killed.stderr) == (130, "interrupted\n")
    assert again.stdout == "sent again 5, were sent before 3, cannot be sent 0\n"
    assert deployment.landed() == [f"word{number}" for number in range(len(sent))]
    assert deployment.audit() == (True, 0)


def test_a_full_redis_takes_nothing_and_says_so(deployment: Deployment) -> None:
    deployment.send("q=poodle")
    deployment.drain()
    deployment.declare(LAX)
    deployment.client.config_set("maxmemory", 1)
    try:
        full = deployment.run("retry", "--site", "search")
    finally:
        deployment.client.config_set("maxmemory", 0)

    assert full.exit_code == 1
    assert "Redis refused" in full.stderr
    assert "run it again: nothing is sent twice" in full.stderr
    assert full.stdout == "sent again 0, were sent before 0, cannot be sent 0, not taken by Redis 1\n"
    assert deployment.run("retry", "--site", "search").stdout.startswith("sent again 1,")


def test_what_cannot_be_sent_is_told_by_reason_and_the_rest_is_sent(deployment: Deployment) -> None:
    deployment.send("q=poodle")
    now_us = time.time_ns() // 1000
    for site, stage, raw in (
        ("search", "write", "[]"),
        ("search", "rules", '{"q: required field": 20}'),
        ("removed", "rules", "{}"),
    ):
        fid = records.mint(now_us)
        made = Failed(fid=fid, dt=records.time_text(now_us), site=site, stage=stage, reason="r", raw=raw)
        deployment.push_text("failed", made.encode(), fid)
    waiting = deployment.run("list")
    deployment.drain()
    deployment.declare(LAX)

    found = deployment.run("retry", *deployment.fids())
    unknown = deployment.run("retry", records.mint())

    assert "4 more are on the way to the table" in waiting.stderr
    assert found.exit_code == unknown.exit_code == 1
    assert found.stdout == "sent again 1, were sent before 0, cannot be sent 3\n"
    told = sorted(line.partition(" (such as ")[0] for line in found.stderr.splitlines())
    assert told == [
        "removed: sites.yaml does not declare the site removed: 1",
        "search: it counts beacons of which no text is kept: 1",
        "search: its text is JSON, but no object: 1",
    ]
    assert f"1 of these ids are not in {deployment.naming.failed.path}" in unknown.stderr


def test_show_tells_the_whole_row_and_what_a_retry_would_do(deployment: Deployment) -> None:
    [bad] = deployment.send("q=poodle")
    deployment.drain()
    fid = bad.failed.fid

    now = deployment.run("show", fid)
    deployment.declare(LAX)
    later = json.loads(deployment.run("show", fid, "--format", "json").stdout)
    deployment.run("retry", fid)
    sent = deployment.run("show", fid.upper())
    unknown = deployment.run("show", records.mint())

    assert now.exit_code == 0
    assert "stage: rules (arms rejected it: it was never accepted)" in now.stdout
    assert "retry: cannot be sent: still rejected: q: max length is 3" in now.stdout
    assert '    "sent": "q=poodle"' in now.stdout
    assert (later["retry"], later["raw"]["address"], later["sent_again"]) == ("would be sent", "192.0.2.1", None)
    assert "retry: was sent before" in sent.stdout
    assert unknown.exit_code == 1
    assert "no failed record" in unknown.stderr


def test_groups_and_rows_are_listed_the_newest_first_and_filtered(deployment: Deployment) -> None:
    deployment.send("q=poodle", "q=badger", "other=1")
    deployment.accept_without_agent("dog")
    deployment.drain()

    groups = deployment.listed()
    some = deployment.run("list", "--limit", "1")

    assert [(row["stage"], row["records"]) for row in groups] == [("write", 1), ("rules", 1), ("rules", 2)]
    assert [row["reason"] for row in groups[1:]] == ["q: required field", "q: max length is 3"]
    assert groups[2]["first"] < groups[2]["last"]
    assert len(deployment.fids()) == 4
    assert deployment.fids() == sorted(deployment.fids(), reverse=True)
    assert len(deployment.fids("--stage", "rules", "--reason", "max length")) == 2
    assert deployment.fids("--site", "other") == deployment.fids("--since", "2100-01-01") == []
    assert "the newest 1 alone; --limit gives more" in some.stderr


def test_a_failed_table_that_is_not_there_is_told(redis_server, warehouse) -> None:
    found = CliRunner().invoke(commands.oceanus, ["failed", "list"], env=warehouse.environ | redis_server.environ)

    assert found.exit_code == 1
    assert found.stderr == f"{warehouse.settings.dataset}_failed.failed is not there yet: table_manager makes it\n"
