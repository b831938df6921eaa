"""The dashboards: each panel explains itself, and asks for what is shown, in PromQL."""

import subprocess
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from tests.monitoring import kept, shown

UNITS = {"reqps", "rowsps", "ops", "short", "s", "bytes", "Bps", "percentunit"}


def test_there_are_four() -> None:
    assert set(kept.boards()) == {"collector", "drain", "sites", "cost"}
    assert {board["uid"] for board in kept.boards().values()} == {f"oceanus-{name}" for name in kept.boards()}


@pytest.mark.parametrize("name", sorted(kept.boards()))
def test_each_panel_has_a_title_a_sentence_a_unit_and_a_place_of_its_own(name: str) -> None:
    panels = kept.boards()[name]["panels"]

    assert len({panel["title"] for panel in panels}) == len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


@pytest.mark.parametrize("name", sorted(kept.boards()))
def test_a_runbook_that_a_panel_names_is_there(name: str) -> None:
    pages = set(map(kept.kebab, kept.alerts()))

    for panel in kept.boards()[name]["panels"]:
        _, named, page = panel["description"].partition("Runbook: ")
        assert not named or page.removesuffix(".") in pages, panel["title"]


def test_every_query_is_promql(tmp_path: Path) -> None:
    asked = [{"record": f"query:number:{place}", "expr": query.expr} for place, query in enumerate(kept.queries("1m"))]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": asked}]}), encoding="utf-8")

    ended = subprocess.run(
        [kept.program("promtool"), "check", "rules", str(file)], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stderr
    assert f"{len(asked)} rules found" in ended.stdout


def test_every_name_in_a_query_is_one_that_is_shown() -> None:
    for query in kept.queries("1m"):
        assert shown.asked(query.expr) - shown.names() - shown.OTHERS == set(), query
        assert shown.asked(query.expr), query


def test_what_a_query_asks_for_is_read_out_of_it() -> None:
    query = (
        'sum by (site) (rate(a_total{x="b_c"}[5m] offset 1d)) / on (site) group_left (p) max(b:c) > 3 and time() - d'
    )

    assert shown.asked(query) == {"a_total", "b:c", "d"}
