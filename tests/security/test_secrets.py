"""No secret is in a log, in metrics or in an answer: every process with marked secrets, right ones and wrong ones."""

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from arms.journal import Journal
from management import folder, parts
from oceanus import sites
from tests.arms.serving import GOOD
from tests.conftest import RedisProcess, Warehouse, end
from tests.revelation.places import closed_port

SECRETS = {
    "TRUST_TOKEN": "Z1trust-marked",
    "REDIS_PASSWORD": "Z2redis-marked",
    "SMTP_PASSWORD": "Z3smtp-marked",
    "SLACK_BOT_TOKEN": "xoxb-Z4slack-marked",
    "CRM_SECRET": "Z5crm-marked",
}
ALERTS = """
destinations:
  desk: {kind: slack, channel: "C0123456789", token: SLACK_BOT_TOKEN}
  hook: {kind: slack, webhook: SLACK_WEBHOOK_URL}
  people: {kind: mail, to: [a@example.com], from: b@example.com}
  crm: {kind: webhook, url: "http://127.0.0.1:PORT/Z7path-marked", secret: CRM_SECRET}
rules:
  views:
    sites: [bizocean]
    when: {evt: pageview}
    tell: [{to: desk, text: x}, {to: hook, text: x}, {to: people, subject: x, text: x}, {to: crm, body: {a: "x"}}]
"""
MARK = "-marked"
SECONDS = 60


@dataclass
class Run:
    """A process with its port and its log."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path


@pytest.fixture
def run(tmp_path: Path) -> Iterator[object]:
    """Start a process with more environment."""
    started: list[Run] = []

    def start(name: str, environ: dict[str, str]) -> Run:
        port, log = parts.free_port(), tmp_path / f"{name}-{len(started)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", name], env=environ | {"PORT": str(port)}, stdout=out, stderr=out
            )
        started.append(Run(process, port, log))
        return started[-1]

    yield start
    for one in started:
        end(one.process)


@pytest.mark.parametrize(("right", "form"), [(True, "text"), (False, "json")], ids=["right", "wrong"])
def test_no_secret_is_told_by_any_process(
    run: object, own_redis: RedisProcess, warehouse: Warehouse, tmp_path: Path, right: bool, form: str
) -> None:
    password = SECRETS["REDIS_PASSWORD"] if right else "Z8other-marked"
    own_redis.client().config_set("requirepass", password)
    port = str(closed_port())
    (tmp_path / "alerts.yaml").write_text(ALERTS.replace("PORT", port))
    environ = {
        **SECRETS,
        **own_redis.environ,
        **warehouse.environ,
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "SITES_FILE": str(sites.SAMPLE),
        "ALERTS_FILE": str(tmp_path / "alerts.yaml"),
        "LOG_LEVEL": "DEBUG",
        "LOG_FORMAT": form,
        "LISTEN_ADDRESS": "127.0.0.1",
        "SLACK_WEBHOOK_URL": f"http://127.0.0.1:{port}/services/Z6hook-marked",
        "SLACK_API_URL": f"http://127.0.0.1:{port}/",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": port,
        "SMTP_USER": "somebody",
        "WEBHOOK_PRIVATE": "1",
        "AUDIT_SECONDS": "1",
    }
    all_of_them = [run(name, environ) for name in ("arms", "r2bq", "table_manager", "revelation")]  # type: ignore[operator]
    arms = f"http://127.0.0.1:{all_of_them[0].port}"

    told = []
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and not _all_has_been_tried(all_of_them, told, right):
        for path in (f"/swallow/bizocean?{urlencode(GOOD)}", "/lb", "/rstatus?debug=1", "/metrics"):
            for token in ("", "Z9wrong-marked-token"):
                told += _asked(arms + path, {"Authorization": f"Bearer {token}"} if token else {})
        for one in all_of_them:
            told += _asked(f"http://127.0.0.1:{one.port}/metrics", {}) + _asked(f"http://127.0.0.1:{one.port}/hc", {})
        time.sleep(0.3)  # they are other processes, which can only be asked again
    for one in all_of_them:
        end(one.process)
        told.append(one.log.read_text())

    assert _all_has_been_tried(all_of_them, told, right)
    assert not [one.log for one in all_of_them if GOOD["sid"] in one.log.read_text()]  # nor who sent what
    assert not [text[max(0, text.find(MARK) - 300) :][:400] for text in told if MARK in text]


def _all_has_been_tried(runs: list[Run], told: list[str], right: bool) -> bool:
    """Say whether arms has answered, and every place was told in vain; with a wrong password, whether all know."""
    if not any("oceanus_arms_beacons_total" in text for text in told):
        return False
    logs = [one.log.read_text() for one in runs]
    if right:
        return all(f"{place}: views:" in logs[3] for place in ("desk", "hook", "people", "crm"))
    return all("invalid username-password" in log for log in logs)


def _asked(url: str, headers: dict[str, str]) -> list[str]:
    try:
        answer = httpx.get(url, headers=headers, timeout=10)
    except httpx.HTTPError:  # not yet there, or not there at all with a wrong password
        return []
    return [answer.text, *answer.headers.values()]


def test_what_up_keeps_is_for_its_owner_alone_also_in_a_folder_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    (tmp_path / "data").chmod(0o755)

    taken = folder.take(tmp_path / "data", 1, lambda _: None)
    taken.token("")
    taken.release()

    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data" / "journal").stat().st_mode) == 0o700
    assert stat.S_IMODE(taken.token_file.stat().st_mode) == 0o600


def test_a_journal_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Journal(tmp_path, "one", 10**8).reserve(100)
    finally:
        os.umask(before)

    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
