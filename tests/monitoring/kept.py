"""The rules and dashboards as they are kept, and Debian's promtool."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import absent

TOP = Path(__file__).parents[2]
MONITORING = TOP / "k8s" / "monitoring"
RULES = sorted((MONITORING / "rules").glob("*.yaml"))
DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))


@dataclass(frozen=True)
class Query:
    """A query of a panel, with what Grafana puts in for its variables."""

    board: str
    panel: str
    expr: str

    def __str__(self) -> str:
        return f"{self.board}: {self.panel}: {self.expr}"


def program(name: str) -> str:
    """Return the path of a program of Debian's package prometheus."""
    found = shutil.which(name)
    if found is None:
        absent(f"{name} (Debian: apt-get install prometheus)")
    return str(found)


def rules() -> list[dict[str, Any]]:
    """Return every rule of every file."""
    groups = [group for file in RULES for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, list[dict[str, Any]]]:
    """Return the alerts by name: one name may have two severities."""
    named: dict[str, list[dict[str, Any]]] = {}
    for rule in rules():
        if "alert" in rule:
            named.setdefault(rule["alert"], []).append(rule)
    return named


def boards() -> dict[str, dict[str, Any]]:
    """Return the dashboards by their files' names."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in DASHBOARDS}


def queries(interval: str) -> Iterator[Query]:
    """Yield every query of every panel, all sites chosen, its rates over `interval`."""
    for name, board in boards().items():
        for panel in board["panels"]:
            for target in panel["targets"]:
                expr = target["expr"].replace("$__rate_interval", interval).replace("$site", ".*")
                yield Query(name, panel["title"], expr)


def kebab(name: str) -> str:
    """Return an alert's name as its page has it."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
