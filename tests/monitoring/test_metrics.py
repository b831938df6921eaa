"""What the processes show follows Prometheus' conventions, and docs/metrics.md says of each what it is."""

import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, generate_latest

from tests.conftest import absent
from tests.monitoring import shown

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs" / "metrics.md").read_text(encoding="utf-8")
LABELS = {"site", "list", "result", "reason", "cause", "limit", "kept", "action", "outcome", "redis"}
DECLARED = {"destination", "rule"}  # as many as alerts.yaml declares
SECTIONS = {"every": "Every process"} | {name: name for name in shown.PROCESSES}


@pytest.mark.parametrize("process", SECTIONS)
def test_the_page_says_of_every_metric_what_it_is(process: str) -> None:
    section = PAGE.partition(f"\n## {SECTIONS[process]}\n")[2].partition("\n## ")[0]

    told = [line for line in section.splitlines() if line.startswith("| `oceanus_")]

    assert told == list(shown.rows(process, shown.every()))


def test_labels_are_few_and_bounded() -> None:
    for one in shown.every():
        allowed = {"process", "version"} if one.process == "every" else LABELS | DECLARED
        assert set(one.labels) <= allowed, one.name
        assert len(one.labels) <= 2, one.name


def test_names_say_the_unit_and_whether_they_count() -> None:
    for one in shown.every():
        assert one.name.endswith("_total") == (one.type == "counter"), one.name
        assert one.help.endswith("."), one.name
        assert not one.name.endswith(("_ms", "_milliseconds", "_kb", "_minutes", "_percent")), one.name
        if one.type == "histogram":
            assert one.name.endswith("_seconds")


def test_promtool_finds_nothing_to_object_to() -> None:
    promtool = shutil.which("promtool") or absent("promtool (Debian: apt-get install prometheus)")
    shown.every()  # what has been made by now is in the registry

    words = [promtool, "check", "metrics"]
    run = subprocess.run(words, input=generate_latest(REGISTRY), capture_output=True, check=False)

    assert (run.returncode, run.stdout + run.stderr) == (0, b"")
