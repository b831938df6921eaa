"""The rules are Prometheus' own, each alert is tested both ways, and one click leads from it to the page that helps."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.monitoring import kept, shown
from tests.monitoring.kept import TOP

CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))
RUNBOOK = TOP / "docs" / "runbook"
BASE = "https://oceanus.example/docs/"  # of the documentation; docs/monitoring.md says how it becomes yours


def run(*words: str) -> tuple[int, str]:
    """Return how promtool ends, and what it says."""
    ended = subprocess.run([kept.program("promtool"), *words], capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("file", kept.RULES, ids=lambda file: file.stem)
def test_promtool_takes_the_rules(file: Path) -> None:
    code, told = run("check", "rules", "--lint=all", "--lint-fatal", str(file))

    assert code == 0, told


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_the_rules_do_what_their_cases_say(file: Path) -> None:
    code, told = run("test", "rules", str(file))

    assert code == 0, told


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent_before_and_after() -> None:
    fires: dict[str, set[str]] = {}
    moments: dict[str, list[list[bool]]] = {}
    for file in CASES:
        for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]:
            for name in {one["alertname"] for one in test["alert_rule_test"]}:
                of_it = [one.get("exp_alerts") or [] for one in test["alert_rule_test"] if one["alertname"] == name]
                moments.setdefault(name, []).append([bool(one) for one in of_it])
                fires.setdefault(name, set()).update(
                    alert["exp_labels"]["severity"] for found in of_it for alert in found
                )

    for name, rules in kept.alerts().items():
        assert fires.get(name) == {rule["labels"]["severity"] for rule in rules}, name
        resolves = [one for one in moments[name] if not one[0] and not one[-1] and any(one)]
        assert resolves, f"{name}: no case is silent, fires, and is silent again"


def test_every_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on() -> None:
    for name, rules in kept.alerts().items():
        for rule in rules:
            assert rule["labels"]["severity"] in ("page", "ticket"), name
            assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, name
            assert rule["annotations"]["runbook_url"] == f"{BASE}runbook/{kept.kebab(name)}/", name


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    pages = {file.stem for file in RUNBOOK.glob("*.md")} - {"index"}

    assert pages == set(map(kept.kebab, kept.alerts()))


@pytest.mark.parametrize("name", sorted(kept.alerts()))
def test_a_page_says_what_it_means_what_to_look_at_what_to_do_and_when_it_is_over(name: str) -> None:
    text = (RUNBOOK / f"{kept.kebab(name)}.md").read_text(encoding="utf-8")

    assert text.startswith(f"# {name}\n")
    parts = [line for line in text.splitlines() if line.startswith("## ")]
    assert parts == ["## What it means", "## What to look at", "## What to do", "## When it is over"]


def test_the_documentation_says_where_it_is_as_the_alerts_do() -> None:
    page = (TOP / "docs" / "monitoring.md").read_text(encoding="utf-8")
    config = TOP / "mkdocs.yml"

    assert BASE in page
    if config.exists():
        assert f"site_url: {BASE}\n" in config.read_text(encoding="utf-8")


def test_every_name_in_a_rule_is_one_that_is_shown_or_recorded() -> None:
    recorded = {rule["record"] for rule in kept.rules() if "record" in rule}

    for rule in kept.rules():
        assert shown.asked(rule["expr"]) - shown.names() - shown.OTHERS - recorded == set(), rule["expr"]
        assert shown.asked(rule["expr"])
