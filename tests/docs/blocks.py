"""The blocks of the pages, each with the comment that says who runs it: the one place that knows how they are marked.

Directly above a block, or, for all blocks of a page that have none of their own, `<!-- each block: ... -->` at its top:

- `<!-- run -->`: tests/docs/test_running.py runs it beside an `oceanus up`; YAML is part of its sites.yaml.
- `<!-- run without kubectl, journalctl -->`: the same, but for commands of these names, which need what is not here.
- `<!-- run by test_name -->`: that test takes it from the page; several are separated by commas.
- `<!-- not run: why -->`: a reason, which may name a test that reads it.

A block without a language, or of `text`, is nothing to run.
"""

import re
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[2]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]
NAMES = r"[\w-]+(?:, [\w-]+)*"
MARK = re.compile(rf"run|run without (?P<without>{NAMES})|run by (?P<tests>test_{NAMES})|not run: (?P<reason>.+)")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_ABOVE = re.compile(r"<!-- (?!each block: )([^\n]*) -->\n *\Z")
_EACH = re.compile(r"^<!-- each block: ([^\n]*) -->$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of a page: where it stands, what it is, and who runs it (empty: nobody says)."""

    page: Path
    line: int
    language: str
    text: str
    mark: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(TOP)}:{self.line}"

    @property
    def is_run(self) -> bool:
        """Say whether it is run as it stands on the page, or but for some of its commands."""
        return self.mark == "run" or self.mark.startswith("run without ")

    @property
    def lines(self) -> str:
        """Return what of it is run."""
        mark = MARK.fullmatch(self.mark)
        left_out = mark["without"].split(", ") if mark and mark["without"] else []
        commands = re.findall(r"(?:[^\n]*\\\n)*[^\n]*\n", self.text)
        return "".join(one for one in commands if one.partition(" ")[0].strip() not in left_out)


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page that have something to run."""
    return found_in(page.read_text(encoding="utf-8"), page)


def found_in(text: str, page: Path) -> list[Block]:
    """Return the same of the page's text."""
    each = _EACH.search(text)
    found = []
    for fence in _FENCE.finditer(text):
        if fence["language"] in ("", "text"):
            continue
        own = _ABOVE.search(text, 0, fence.start())
        mark = own[1] if own else each[1] if each else ""
        line = text.count("\n", 0, fence.start()) + 1
        body = re.sub(rf"^{fence['indent']}", "", fence["text"], flags=re.MULTILINE)
        found.append(Block(page, line, fence["language"], body, mark))
    return found


def run_by(page: Path, test: str) -> str:
    """Return the one block of a page that a test runs."""
    [block] = [one for one in blocks(page) if one.mark == f"run by {test}"]
    return block.text
