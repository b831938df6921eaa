"""A real Prometheus scrapes a real `oceanus up` under a little load: each query and each rule has its answer there."""

import json
import math
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from management import parts
from tests.conftest import end, until, wait_for_port
from tests.e2e.test_up import BEACON, Up
from tests.monitoring import kept, shown

INTERVAL = "10s"
# Panels whose numbers are of what has not happened here: nothing failed, nobody was limited, all lies in one Redis.
SILENT = {
    ("collector", "Pushes that Redis did not take, by cause"),
    ("collector", "Answered 429, and connections that we closed"),
    ("drain", "Steps that are repeated, by cause"),
    ("sites", "Answered 429"),
}
# And queries of panels that have other ones: claims are settled at once, nothing was sent twice or went another way.
SILENT_QUERIES = ("oceanus_r2bq_claim_age_seconds", "rows_repeated", "rows_aside", "rows_recovered")


@dataclass
class Prometheus:
    """A running Prometheus, with what it scrapes."""

    url: str
    up: Up

    def ask(self, path: str, **parameters: str) -> Any:
        """Return what its API answers; fails on an error."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30, trust_env=False)
        assert answer.status_code == 200, f"{parameters}: {answer.text}"
        assert answer.json()["status"] == "success", answer.text
        return answer.json()["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the series that a query has now."""
        result: list[dict[str, Any]] = self.ask("query", query=expr)["result"]
        return result

    def has(self, expr: str) -> bool:
        """Say whether a query has a number now."""
        return any(not math.isnan(float(one["value"][1])) for one in self.query(expr))


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus with our rules, at an `up` that has been sent good and bad beacons for a while."""
    program, folder = kept.program("prometheus"), tmp_path_factory.mktemp("prometheus")
    environ = {"DATA_DIR": str(folder / "data"), "PORT": str(parts.free_port()), "HOME": str(folder)}
    running = Up(folder, environ | {"PATH": os.environ["PATH"]})
    running.start()
    port = parts.free_port()
    words = [program, f"--config.file={_config(folder)}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    words += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    over = threading.Event()
    load = threading.Thread(target=_load, args=(running.url, over), daemon=True)
    try:
        wait_for_port(port, process)
        load.start()
        found = Prometheus(f"http://127.0.0.1:{port}", running)
        until(lambda: found.has("sum(rate(oceanus_r2bq_rows_written_total[10s])) > 0"))
        until(lambda: found.has("oceanus_audit_missing"))
        until(lambda: found.has("oceanus_redis_memory_bytes"))
        until(lambda: found.has("sum by (site) (rate(oceanus_alerts_seen_total[10s]))"))
        yield found
    finally:
        over.set()
        end(process)
        end(running.process, 60)


def test_every_process_is_scraped_and_shows_what_the_page_says_and_nothing_else(prometheus: Prometheus) -> None:
    targets = {one["labels"]["instance"]: one for one in prometheus.ask("targets")["activeTargets"]}

    assert {name: one["health"] for name, one in targets.items()} == dict.fromkeys(shown.PROCESSES, "up")
    for process, target in targets.items():
        told = httpx.get(target["scrapeUrl"], timeout=10, trust_env=False).text
        names = {line.split()[2] for line in told.splitlines() if line.startswith("# TYPE oceanus_")}
        declared = {one.name for one in shown.every() if one.process in (process, "every")}
        assert names == declared, process


def test_every_process_says_which_release_it_is(prometheus: Prometheus) -> None:
    found = {one["metric"]["instance"]: one["metric"]["process"] for one in prometheus.query("oceanus_build_info")}

    assert found == {name: name for name in shown.PROCESSES}


def test_every_query_of_every_dashboard_is_answered_and_has_numbers_where_there_must_be_some(
    prometheus: Prometheus,
) -> None:
    queries = list(kept.queries(INTERVAL))
    silent = [
        one for one in queries if (one.board, one.panel) in SILENT or any(name in one.expr for name in SILENT_QUERIES)
    ]

    def lacking() -> list[str]:
        return [str(query) for query in queries if query not in silent and not prometheus.has(query.expr)]

    for query in silent:
        prometheus.query(query.expr)
    with suppress(AssertionError):
        until(lambda: not lacking())
    assert lacking() == []
    assert len(silent) < len(queries) / 4


def test_every_rule_is_evaluated_without_an_error_and_no_alert_fires_where_all_is_well(prometheus: Prometheus) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

    until(lambda: all(rule["health"] != "unknown" for rule in rules()))

    assert [rule for rule in rules() if rule["health"] != "ok" or rule.get("lastError")] == []
    assert len(rules()) == len(kept.rules())
    assert prometheus.query('ALERTS{alertstate="firing"}') == []
    for rule in kept.rules():
        prometheus.query(rule["expr"])


def test_a_rejected_beacon_and_a_fresh_row_are_in_the_numbers(prometheus: Prometheus) -> None:
    reasons = {one["metric"]["reason"] for one in prometheus.query("oceanus_arms_rejected_beacons_total")}
    until(lambda: prometheus.has("oceanus:freshness_miss:ratio_rate5m"))

    assert reasons == {"rules"}
    [late] = prometheus.query("oceanus:freshness_miss:ratio_rate5m")
    assert 0 <= float(late["value"][1]) <= 1


def _config(folder: Path) -> Path:
    """Write what docs/monitoring.md says for one machine, with our rules, and asking more often."""
    config = yaml.safe_load((kept.MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    [ours] = [job for job in config["scrape_configs"] if job["job_name"] == "oceanus"]
    ours["file_sd_configs"][0]["files"] = [str(folder / "data" / "prometheus.json")]
    config |= {"rule_files": [str(file) for file in kept.RULES], "scrape_configs": [ours], "alerting": {}}
    file = folder / "prometheus.yml"
    file.write_text(json.dumps(config), encoding="utf-8")
    return file


def _load(url: str, over: threading.Event) -> None:
    """Send thirty beacons a second, one in ten of them bad, one in ten of them told of."""
    with httpx.Client(base_url=url.rstrip("/"), trust_env=False) as client:
        number = 0
        while not over.wait(0.033):
            number += 1
            path = f"{BEACON}&sid=none" if number % 10 == 0 else BEACON.replace("pageview", "paid", number % 10 == 1)
            assert client.get(path).status_code in (200, 400), urlsplit(path).query
