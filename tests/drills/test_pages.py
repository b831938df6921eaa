"""The pages of docs/drills: each block says which test runs it or why none does, and each link leads somewhere."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.drills.page import FOLDER, Block, blocks, pages

EVERY = [block for page in pages() for block in blocks(page)]
TESTS = {
    name
    for file in Path(__file__).parent.glob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("block", EVERY, ids=lambda block: f"{block.page} {block.text[:30]!r}")
def test_each_block_is_a_shells_and_is_run_or_says_why_not(block: Block) -> None:
    checked = subprocess.run(["sh", "-n", "-c", block.text], capture_output=True, text=True, check=False)

    assert (block.language, checked.returncode, checked.stderr) == ("sh", 0, "")
    assert block.test in TESTS if block.test else block.mark.startswith("not run: ")


def test_the_index_has_each_page() -> None:
    index = (FOLDER / "index.md").read_text(encoding="utf-8")

    assert [page for page in pages() if page != "index.md" and f"]({page})" not in index] == []


@pytest.mark.parametrize("page", pages())
def test_each_link_leads_to_a_heading_that_is_there(page: str) -> None:
    text = (FOLDER / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", text)

    assert links
    for path, anchor in links:
        target = FOLDER / (path or page)
        assert target.exists(), path
        assert not anchor or anchor in _anchors(target), f"{path}#{anchor}"


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
