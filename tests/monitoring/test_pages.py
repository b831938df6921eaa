"""What the pages about monitoring name is there: commands, files, headings."""

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from management.commands import oceanus
from tests.monitoring.kept import TOP

DOCS = TOP / "docs"
PAGES = [DOCS / "monitoring.md", DOCS / "metrics.md", *sorted((DOCS / "runbook").glob("*.md"))]
each = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """Return the names by which the headings of a page are linked to."""
    found = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in found}


@each
def test_every_link_leads_somewhere(page: Path) -> None:
    for path, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text_of(page)):
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), path
        assert not anchor or anchor in anchors(linked), f"{path}#{anchor}"


@each
def test_every_command_of_ours_is_one_with_these_options(page: Path) -> None:
    text = text_of(page)
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += [" ".join(one.split()) for one in re.findall(r"`(oceanus [a-z][^`]*)`", text)]

    for line in [one for one in lines if one.startswith("oceanus ")]:
        command: click.Command = oceanus
        words = shlex.split(line)[1:]
        while words and isinstance(command, click.Group) and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        known = {name for parameter in command.params for name in parameter.opts}
        assert command is not oceanus or words == ["..."], line
        assert {word for word in words if word.startswith("-")} <= known, line


@each
def test_a_shell_can_read_every_block(page: Path) -> None:
    for block in re.findall(r"^```sh\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL):
        read = subprocess.run(["sh", "-n"], input=block, capture_output=True, text=True, check=False)
        assert (read.returncode, read.stderr) == (0, ""), block


@each
def test_every_file_of_monitoring_that_is_named_is_there(page: Path) -> None:
    named = set(re.findall(r"\bk8s/[\w./-]*\w", text_of(page)))

    assert {one for one in named if not (TOP / one).exists()} == set()


def test_the_list_of_the_runbook_has_every_page() -> None:
    linked = set(re.findall(r"\]\(([\w-]+)\.md\)", text_of(DOCS / "runbook" / "index.md")))

    assert linked == {page.stem for page in (DOCS / "runbook").glob("*.md")} - {"index"}
