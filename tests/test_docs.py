"""What docs/ say is held: each test that they name is there. (Their blocks, commands and files: tests/docs.)"""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
PAGES = sorted((TOP / "docs").rglob("*.md"))
TESTS = {
    name
    for file in (TOP / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    assert sorted(set(re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8"))) - TESTS) == []


def test_there_are_pages() -> None:
    assert PAGES


def test_the_alerts_page_has_the_rules_of_the_original_as_they_are_tested() -> None:
    page = (TOP / "docs" / "alerts.md").read_text(encoding="utf-8")

    assert (TOP / "tests" / "revelation" / "original.yaml").read_text(encoding="utf-8") in page
