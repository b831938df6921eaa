"""The command blocks of docs/drills: which test runs each, as the comment above it says."""

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "drills"
_BLOCK = re.compile(r"^(?:<!-- (.*?) -->\n)?```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a page; `mark` is what the comment above it says, empty where there is none."""

    page: str
    mark: str
    language: str
    text: str

    @property
    def test(self) -> str:
        """Return the test that runs it; empty where none does."""
        return self.mark.removeprefix("run by ") if self.mark.startswith("run by ") else ""


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page, from the top."""
    text = (FOLDER / page).read_text(encoding="utf-8")
    return [Block(page, mark, language, body) for mark, language, body in _BLOCK.findall(text)]


def pages() -> list[str]:
    """Return the names of all pages."""
    return sorted(file.name for file in FOLDER.glob("*.md"))
