"""The command line: exit codes, and sentences in place of tracebacks."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from management.__main__ import main


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    for name in ("PROJECT_ID", "BIGQUERY_EMULATOR_HOST", "REDIS_PD_SERVICE_HOST", "SITES_FILE", "PORT", "TRUST_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def call(*words: str, **environ: str) -> Result:
        return CliRunner().invoke(main, words, env=environ)

    return call


@pytest.mark.parametrize("command", ["up", "check", "sql", "replay", "status"])
def test_help_of_every_command_has_an_example(run, command):
    result = run(command, "--help")

    assert result.exit_code == 0
    assert "Example:" in result.stdout


@pytest.mark.parametrize("words", [("sql", "SELECT 1"), ("status",)])
def test_where_nothing_runs_a_command_says_what_to_do(run, words, tmp_path):
    result = run(*words)

    assert result.exit_code == 1
    assert result.stderr == f"nothing runs in {tmp_path}: make up\n"


def test_check_of_the_sample_is_one_line(run):
    result = run("check")

    assert (result.exit_code, result.stderr, result.stdout.count("\n")) == (0, "", 1)


def test_up_names_every_mistake_and_starts_nothing(run, monkeypatch, tmp_path):
    monkeypatch.setenv("PORT", "x")
    monkeypatch.setenv("LOG_LEVEL", "loud")

    result = run("up")

    assert result.exit_code == 1
    assert [one.split("=")[0] for one in result.stderr.splitlines()] == ["PORT", "LOG_LEVEL"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("site", ["shortener", "nosuch"])
def test_replay_takes_sites_of_method_swallow_only(run, site, tmp_path):
    log = tmp_path / "log"
    log.touch()

    result = run("replay", str(log), "--site", site)

    assert result.exit_code == 2
    assert f"--site {site}" in result.stderr


def test_replay_to_another_address_asks_for_its_token(run, tmp_path):
    log: Path = tmp_path / "log"
    log.touch()

    result = run("replay", str(log), "--site", "bizocean", "--url", "http://127.0.0.1:9/")

    assert result.exit_code == 1
    assert "TRUST_TOKEN is not set" in result.stderr


@pytest.mark.parametrize("words", [("sql",), ("sql", "SELECT 1", "--max-bytes", "much"), ("nosuch",)])
def test_wrong_use_is_exit_2(run, words):
    assert run(*words).exit_code == 2


def test_check_names_a_warehouse_that_cannot_be_used_beside_every_other_mistake(run):
    result = run("check", PORT="x", PROJECT_ID="nobody", GOOGLE_APPLICATION_CREDENTIALS="nowhere.json")

    assert result.exit_code == 1
    assert [line.partition("=")[0] for line in result.stderr.splitlines()] == ["PORT", "GOOGLE_APPLICATION_CREDENTIALS"]
