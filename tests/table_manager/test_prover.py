"""The prover: it asks for what has changed or is not settled, keeps the gauges, and no trouble ends it."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import httpx
import pytest
from prometheus_client import CollectorRegistry

from management import parts
from oceanus import sites
from oceanus.audit import Alarm, SiteAudit, Verdict
from oceanus.errors import SpoolUnclearError, WarehouseUnclearError
from oceanus.ledger import Landed, Ledger, Totals
from oceanus.sites import Site
from oceanus.worker import Stop
from table_manager.prover import Counts, Prover, keep_proving

SAMPLE = sites.load(str(sites.SAMPLE))
SHOP = SAMPLE["bizocean"]
YESTERDAY, TODAY = "20261121", "20261122"


class FakeAuditor:
    """Judges each chosen day by what `verdicts` says of it, else as agreeing."""

    def __init__(self) -> None:
        self.days = {YESTERDAY: 5, TODAY: 1}
        self.verdicts: dict[str, tuple[str, int]] = {}
        self.asked: list[list[str]] = []
        self.raised: list[Alarm] = []
        self.troubles: list[str] = []
        self.broken: Exception | None = None
        self.written = 0

    def audit(self, site: Site, choose: Callable[[Ledger], list[str]]) -> SiteAudit:
        if self.broken:
            raise self.broken
        days = {day: Totals(accepted=count, settled=count) for day, count in self.days.items()}
        asked = choose(Ledger(days=days, minutes={}, whole=Totals(), waiting=0, epoch_ms=1))
        self.asked.append(asked)
        judged = [self._verdict(day, days[day]) for day in asked]
        return SiteAudit(verdicts=judged, troubles=self.troubles)

    def alarms(self) -> list[Alarm]:
        return self.raised

    def write(self) -> None:
        self.written += 1

    def _verdict(self, day: str, counted: Totals) -> Verdict:
        verdict, rows = self.verdicts.get(day, ("agrees", counted.settled))
        return Verdict(bucket=day, verdict=verdict, counted=counted, landed=Landed(rows, rows, 0))


@pytest.fixture
def auditor() -> FakeAuditor:
    return FakeAuditor()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def prover(auditor: FakeAuditor, registry: CollectorRegistry) -> Prover:
    return Prover(auditor, [SHOP], Counts(registry))


def gauge(registry: CollectorRegistry, name: str) -> float | None:
    labels = {"site": SHOP.name} if name in ("missing", "doubled") else {}
    return registry.get_sample_value(f"oceanus_audit_{name}", labels)


def test_only_days_that_changed_or_came_to_no_rest_are_asked_for_again(auditor, prover):
    prover.round()
    prover.round()
    auditor.days[TODAY] = 2
    auditor.verdicts[TODAY] = ("open", 1)
    prover.round()
    del auditor.verdicts[TODAY]
    prover.round()
    prover.round()

    assert auditor.asked == [[YESTERDAY, TODAY], [], [TODAY], [TODAY], []]


def test_old_days_are_asked_for_when_they_change(auditor, prover):
    auditor.days = {f"202601{day:02}": 1 for day in range(1, 20)}
    prover.round()
    auditor.days["20260102"] = 2
    prover.round()

    assert auditor.asked == [[f"202601{day:02}" for day in range(11, 20)], ["20260102"]]


def test_what_is_missing_stays_missing_until_it_is_there(auditor, prover, registry, caplog):
    auditor.verdicts[YESTERDAY] = ("differs", 3)
    prover.round()
    first = gauge(registry, "missing"), gauge(registry, "doubled")
    auditor.days[TODAY] = 2
    prover.round()
    second = gauge(registry, "missing")
    auditor.verdicts[YESTERDAY] = ("differs", 6)
    prover.round()
    third = gauge(registry, "missing"), gauge(registry, "doubled")
    del auditor.verdicts[YESTERDAY]
    prover.round()

    assert (first, second, third) == ((2, 0), 2, (0, 1))
    assert (gauge(registry, "missing"), gauge(registry, "doubled")) == (0, 0)
    assert "bizocean: 2 beacons missing, 0 doubled: see oceanus audit" in caplog.text


def test_alarms_are_counted_and_each_is_told_once(auditor, prover, registry, caplog):
    auditor.raised = [Alarm("a new Redis")]
    prover.round()
    prover.round()
    told = caplog.text.count("alarm: a new Redis")
    standing = gauge(registry, "alarms")
    auditor.raised = []
    prover.round()

    assert (told, standing, gauge(registry, "alarms")) == (1, 1, 0)


@pytest.mark.parametrize("error", [SpoolUnclearError("no answer"), WarehouseUnclearError("no answer")])
def test_trouble_is_a_line_and_a_count_and_the_next_round_goes_on(auditor, prover, registry, caplog, error):
    auditor.broken = error
    assert prover.round() is False
    assert (gauge(registry, "failures_total"), gauge(registry, "checked_timestamp_seconds")) == (1, 0)
    assert gauge(registry, "missing") is None

    auditor.broken = None
    assert prover.round() is True
    assert gauge(registry, "checked_timestamp_seconds") > 0
    assert "no audit now, tried again soon: no answer" in caplog.text


def test_a_site_that_cannot_be_judged_claims_nothing(auditor, prover, registry, caplog):
    caplog.set_level(logging.WARNING)
    auditor.days, auditor.troubles = {}, ["its ledger is no hash"]

    assert prover.round() is False
    assert gauge(registry, "missing") is None
    assert auditor.written == 1
    assert "bizocean: not audited in full: its ledger is no hash" in caplog.text


def test_it_ends_when_it_is_told_to(auditor, prover):
    stop = Stop()
    stop.set()

    keep_proving(prover, stop, 3600)

    assert auditor.asked == []


# --- as a process


def served(warehouse, line: str, **variables: str) -> str:
    """Run table_manager until its /metrics have a line that begins so, and return them; it must end well."""
    port = parts.free_port()
    environ = dict(os.environ) | warehouse.environ | {"SITES_FILE": str(sites.SAMPLE), "PORT": str(port)} | variables
    with subprocess.Popen([sys.executable, "-m", "table_manager"], env=environ) as process:
        try:
            return until_told(f"http://127.0.0.1:{port}/metrics", line)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0


def until_told(url: str, line: str) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            told = httpx.get(url, timeout=5).text
        except httpx.TransportError:
            told = ""
        if any(one.startswith(line) for one in told.splitlines()):
            return told
        time.sleep(0.1)  # it is another process, which can only be asked again
    raise AssertionError(f"no {line}")


def test_a_running_table_manager_tells_what_is_missing(warehouse, redis_server):
    client, today = redis_server.client(), "20261122"
    client.set("oceanus:ledger:epoch", 1_700_000_000_000)
    client.hset("oceanus:{bizocean}:ledger", mapping={f"{today}a": 3, f"{today}ad": 9, f"{today}s": 3, f"{today}sd": 9})
    client.close()

    told = served(warehouse, 'oceanus_audit_missing{site="bizocean"} 3.0', **redis_server.environ)

    assert 'oceanus_audit_doubled{site="bizocean"} 0.0' in told


def test_without_a_redis_the_tables_are_kept_and_the_audit_is_a_failure(warehouse):
    away = {"REDIS_PD_SERVICE_HOST": "127.0.0.1", "REDIS_PD_SERVICE_PORT": str(parts.free_port())}

    served(warehouse, "oceanus_table_manager_last_round_timestamp_seconds 1.", **away)
    told = served(warehouse, "oceanus_audit_failures_total 1.0", **away)

    assert warehouse.catalog.find(f"{warehouse.settings.dataset}.audit") is not None
    assert "oceanus_audit_checked_timestamp_seconds 0.0" in told


def test_it_never_audits_where_it_is_told_so(warehouse):
    told = served(warehouse, "oceanus_table_manager_last_round_timestamp_seconds 1.", AUDIT_SECONDS="0")

    assert "oceanus_audit" not in told
