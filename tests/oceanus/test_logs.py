"""The log in JSON is what Cloud Logging reads, whoever speaks, and whatever ends a process."""

import json
import logging
import subprocess
import sys
from datetime import datetime

import pytest

from oceanus import logs

BEGIN = "import logging, threading\nfrom oceanus import logs\nfrom oceanus.settings import LogSettings\n"
BEGIN += "logs.start('r2bq', LogSettings(level='INFO', format='{form}'))\n"
SEVERITIES = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}  # of Google's LogSeverity, those that Python has


def said(program: str, form: str = "json") -> list[str]:
    """Return the lines that a process says which does this."""
    words = [sys.executable, "-c", BEGIN.format(form=form) + program]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60).stderr.splitlines()


@pytest.mark.parametrize("name", sorted(SEVERITIES))
def test_a_line_has_the_names_that_cloud_logging_reads(name: str) -> None:
    record = logging.makeLogRecord(
        {"name": "r2bq.drain", "levelname": name, "msg": "%d rows", "args": (3,), "created": 1_795_000_000.25}
    )

    line = json.loads(logs.Json("r2bq").format(record))

    assert (line["severity"], line["message"]) == (name, "3 rows")
    assert datetime.fromisoformat(line["time"]).timestamp() == 1_795_000_000.25
    assert line["time"].endswith("+00:00")
    labels = line["logging.googleapis.com/labels"]
    assert (labels["process"], labels["logger"]) == ("r2bq", "r2bq.drain")
    assert {type(value) for value in labels.values()} == {str}
    assert set(line["logging.googleapis.com/sourceLocation"]) == {"file", "line", "function"}


@pytest.mark.parametrize(
    "program",
    [
        "1 / 0",
        "thread = threading.Thread(target=lambda: 1 / 0)\nthread.start()\nthread.join()",
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    logging.getLogger('r2bq').critical('x', exc_info=True)",
    ],
)
def test_a_surprise_is_one_entry_with_its_traceback(program: str) -> None:
    [line] = map(json.loads, said(program))

    assert line["severity"] == "CRITICAL"
    assert "Traceback (most recent call last)" in line["message"]
    assert "ZeroDivisionError" in line["message"]


def test_in_text_a_surprise_is_pythons_own_words() -> None:
    lines = said("1 / 0", "text")

    assert (lines[0], lines[-1]) == ("Traceback (most recent call last):", "ZeroDivisionError: division by zero")


def test_the_servers_lines_are_entries_too() -> None:
    program = (
        "own = logging.getLogger('gunicorn.error')\nown.propagate = False\nown.addHandler(logging.StreamHandler())\n"
    )
    program += (
        "logs.start('arms', LogSettings(level='INFO', format='json'))\nown.setLevel('INFO')\nown.info('Booting worker')"
    )

    [line] = map(json.loads, said(program))

    assert (line["severity"], line["message"]) == ("INFO", "Booting worker")
