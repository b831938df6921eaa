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
            assert rule["annotations"]["runbook_url"] == f"{BASE}runbook/{kept.kebab(name)}.html", name


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
    assert f"site_url: {BASE} " in config.read_text(encoding="utf-8")
    assert "use_directory_urls: false\n" in config.read_text(encoding="utf-8")


def test_every_name_in_a_rule_is_one_that_is_shown_or_recorded() -> None:
    recorded = {rule["record"] for rule in kept.rules() if "record" in rule}

    for rule in kept.rules():
        assert shown.asked(rule["expr"]) - shown.names() - shown.OTHERS - recorded == set(), rule["expr"]
        assert shown.asked(rule["expr"])


@pytest.mark.parametrize(
    ("kind", "version"),
    [("PrometheusRule", "monitoring.coreos.com/v1"), ("Rules", "monitoring.googleapis.com/v1")],
)
def test_wrapped_for_kubernetes_the_rules_are_the_same_with_links_to_ones_own_pages(kind: str, version: str) -> None:
    words = ["sh", str(kept.MONITORING / "wrap.sh"), kind, "https://docs.example.com"]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    wrapped = list(yaml.safe_load_all(told))

    assert {(one["apiVersion"], one["kind"], one["metadata"]["namespace"]) for one in wrapped} == {
        (version, kind, "oceanus")
    }
    assert [one["metadata"]["name"] for one in wrapped] == [f"oceanus-{file.stem}" for file in kept.RULES]
    plain = [
        yaml.safe_load(file.read_text(encoding="utf-8").replace(BASE, "https://docs.example.com/"))
        for file in kept.RULES
    ]
    assert [one["spec"] for one in wrapped] == plain


def test_wrapped_as_nothing_known_is_refused() -> None:
    ended = subprocess.run(["sh", str(kept.MONITORING / "wrap.sh")], capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("usage: ")


def test_prometheus_takes_the_configuration_for_one_machine(tmp_path: Path) -> None:
    text = (kept.MONITORING / "prometheus.yml").read_text(encoding="utf-8")
    file = tmp_path / "prometheus.yml"
    file.write_text(text.replace("/etc/prometheus/oceanus", str(kept.MONITORING / "rules")), encoding="utf-8")

    code, told = run("check", "config", str(file))

    assert code == 0, told
    assert f"{len(kept.RULES)} rule files" in told
