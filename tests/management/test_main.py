"""The command line: exit codes, and sentences in place of tracebacks."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from management import commands


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    for name in ("PROJECT_ID", "BIGQUERY_EMULATOR_HOST", "REDIS_PD_SERVICE_HOST", "SITES_FILE", "PORT", "TRUST_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def call(*words: str, **environ: str) -> Result:
        return CliRunner().invoke(commands.oceanus, words, env=environ)

    return call


@pytest.mark.parametrize(
    "command",
    [
        "up",
        "check",
        "sql",
        "replay",
        "status",
        "audit",
        "failed list",
        "failed show",
        "failed retry",
        "snippet",
        "k8s build",
        "k8s push",
        "k8s deploy",
        "k8s rollback",
        "k8s stop",
        "k8s journals",
    ],
)
def test_help_of_every_command_has_an_example(run, command):
    result = run(*command.split(), "--help")

    assert result.exit_code == 0
    assert "Example:" in result.stdout


@pytest.mark.parametrize(
    "words", [("sql", "SELECT 1"), ("status",), ("failed", "list"), ("failed", "retry", "--site", "bizocean")]
)
def test_where_nothing_runs_a_command_says_what_to_do(run, words, tmp_path):
    result = run(*words)

    assert result.exit_code == 1
    assert result.stderr == f"nothing runs in {tmp_path}: make up\n"


def test_folder_where_nothing_runs_is_named_from_the_root(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    result = run("status", DATA_DIR=".oceanus")

    assert result.stderr == f"nothing runs in {tmp_path}/.oceanus: make up\n"


def test_summaries_of_the_commands_are_not_cut(run):
    listed = run("--help", COLUMNS="80").stdout.partition("Commands:")[2]

    assert all(f"\n  {name} " in listed for name in ("up", "check", "sql", "replay", "status", "audit", "failed"))
    assert "..." not in listed


def test_version_is_told(run):
    assert run("--version").stdout.startswith("oceanus 0.")


def test_help_of_status_explains_every_column(run):
    lines = run("status", "--help").stdout.splitlines()

    for name in ("queue", "claimed", "failed", "oldest", "landed", "last"):
        assert len([line for line in lines if line.startswith(f"  {name} ")]) == 1
    assert max(map(len, lines)) <= 80


def test_help_of_up_says_how_to_open_it_to_the_network(run):
    assert "LISTEN_ADDRESS=0.0.0.0" in run("up", "--help").stdout


def test_help_of_replay_says_what_a_second_run_does(run):
    told = " ".join(run("replay", "--help").stdout.split())

    assert "20 s for 5,000 lines" in told
    assert "stores the lines again" in told


def test_ctrl_c_is_told_in_a_word(run, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands.check, "mistakes", interrupted)

    result = run("check")

    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_is_still_importing_ends_it_silently(tmp_path, number):
    words, environ = [sys.executable, "-m", "management", "up"], {"DATA_DIR": str(tmp_path / "data")}
    for late_seconds in (0, 0.05, 0.15, 0.3):
        starting = subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until_it_catches_sigterm(starting.pid)
        assert "cygrpc" not in Path(f"/proc/{starting.pid}/maps").read_text(), "the long imports came first"
        time.sleep(late_seconds)  # the moment of the signal is what is tried, so it cannot be waited for

        starting.send_signal(number)
        _, told = starting.communicate(timeout=60)

        assert (starting.returncode in (0, 130), told) == (True, b"")


def until_it_catches_sigterm(pid: int) -> None:
    """Return as soon as a starting process has taken its signals in hand: before that it is Python's own."""
    caught = 0
    while not caught & 1 << (signal.SIGTERM - 1):
        [mask] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt:")]
        caught = int(mask.split()[1], 16)


def test_log_that_is_no_log_and_too_old_lines_are_told(run, tmp_path):
    log: Path = tmp_path / "log"
    log.write_text('1.2.3.4 - - [17/May/2005:10:05:03 +0000] "GET / HTTP/1.1" 200 5 "-" "A"\nno\nlog\n')
    tally = commands.replay.Tally(rejected=3, unparsed=2)

    async def send(*words: object) -> None:
        words[3].rejected, words[3].unparsed = tally.rejected, tally.unparsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "_send", send)
        url = ("--url", "http://127.0.0.1:9/")
        result = run("replay", str(log), "--site", "bizocean", *url, "--keep-time", TRUST_TOKEN="t")

    assert result.stderr.splitlines()[0] == "warning: some lines are older than 3,650 days: arms will refuse those"
    assert result.stderr.splitlines()[-1] == f"is {log} an access log in Combined Log Format?"


def test_misspelt_variable_is_a_warning_and_changes_nothing(run):
    result = run("check", SITES_FLIE="mine.yaml")

    assert result.exit_code == 0
    assert result.stderr == "warning: SITES_FLIE is set and means nothing: is SITES_FILE meant?\n"


def test_check_of_the_samples_is_a_line_each(run):
    result = run("check")

    assert (result.exit_code, result.stderr) == (0, "")
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == ["sites.yaml", "alerts.yaml"]


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


@pytest.mark.parametrize(
    "words",
    [
        ("sql",),
        ("sql", "SELECT 1", "--max-bytes", "much"),
        ("nosuch",),
        ("failed", "list", "--since", "yesterday"),
        ("failed", "show", "1"),
        ("failed", "retry"),
        ("failed", "retry", "--stage", "rules"),
        ("failed", "retry", "019a4b6e-3c00-7abc-8def-0123456789ab", "--site", "bizocean"),
        ("failed", "retry", "019a4b6e-3c00-7abc-8def-0123456789ab", "--since", "24h"),
    ],
)
def test_wrong_use_is_exit_2(run, words):
    assert run(*words).exit_code == 2


def test_check_names_a_warehouse_that_cannot_be_used_beside_every_other_mistake(run):
    result = run("check", PORT="x", PROJECT_ID="nobody", GOOGLE_APPLICATION_CREDENTIALS="nowhere.json")

    assert result.exit_code == 1
    assert [line.partition("=")[0] for line in result.stderr.splitlines()] == ["PORT", "GOOGLE_APPLICATION_CREDENTIALS"]


def test_taken_port_leaves_no_new_folder_behind(run, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        result = run("up", DATA_DIR=str(tmp_path / "new" / "data"), PORT=port)

    assert result.exit_code == 1
    assert result.stderr.startswith(f"PORT={port}: cannot listen there")
    assert list(tmp_path.iterdir()) == []
