"""Every block of the pages says who runs it, or why nobody does; what it names is there."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from management.commands import oceanus
from tests.docs.blocks import MARK, PAGES, TOP, Block, blocks, found_in

BLOCKS = [block for page in PAGES for block in blocks(page)]
SHELL = [block for block in BLOCKS if block.language in ("sh", "bash", "console")]
LANGUAGES = {"sh", "sql", "yaml", "html", "python", "promql"}
MADE = set(re.findall(r"^([\w-]+):", (TOP / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
# A command of ours, in a line of a block or between backquotes.
LINE = re.compile(r"^(?:[^#\n]*[|(;&] ?)?((?:\w+=\S+ )*oceanus [a-z][^\n]*)", re.MULTILINE)
INLINE = re.compile(r"`((?:\w+=\S+ )*oceanus [a-z][^`\n]*)`")


@cache
def every_test() -> dict[str, Path]:
    """Return every test by its name, and the file that has it."""
    found = {}
    for file in (TOP / "tests").rglob("test_*.py"):
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE):
            found[name] = file
    return found


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_says_who_runs_it_or_why_nobody_does(block: Block) -> None:
    assert block.language in LANGUAGES, f"{block}: one of {sorted(LANGUAGES)}, or text for what nobody can run"
    assert MARK.fullmatch(block.mark), (
        f"{block}: put <!-- run -->, <!-- run by test_x --> or <!-- not run: why --> above it"
    )


@pytest.mark.parametrize("block", [one for one in BLOCKS if "test_" in one.mark], ids=str)
def test_a_test_that_a_block_names_is_there_and_one_that_runs_it_reads_the_page(block: Block) -> None:
    named = re.findall(r"\btest_\w+", block.mark)

    assert [name for name in named if name not in every_test()] == []
    for name in named if block.mark.startswith("run by") else ():
        beside = "".join(file.read_text(encoding="utf-8") for file in every_test()[name].parent.glob("*.py"))
        assert block.page.name in beside or f'"{block.page.stem}"' in beside, f"{block}: {name} takes nothing from it"


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_a_shell_can_read_a_block_of_shell(block: Block) -> None:
    read = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)

    assert (read.returncode, read.stderr) == (0, "")


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of every command of ours that a page names, in its blocks and between backquotes."""
    shell = "\n".join(block.text for block in SHELL if block.page == page).replace("\\\n", " ")
    for said in [*LINE.findall(shell), *INLINE.findall(page.read_text(encoding="utf-8"))]:
        words = re.split(r"[ ;|&)]+", said)
        yield words[words.index("oceanus") + 1 :]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_and_option_that_a_page_names_is_one(page: Path) -> None:
    wrong = [" ".join(words) for words in commands(page) if words and not is_known(words)]

    assert wrong == []


def is_known(words: list[str]) -> bool:
    """Say whether the words begin with commands of `oceanus`, and whether it has the options among them."""
    context, command, depth = click.Context(oceanus), oceanus, 0
    while isinstance(command, click.Group) and depth < len(words) and not words[depth].startswith("-"):
        choices = re.split(r"[|,]", words[depth])  # `failed list|show|retry`: each of them
        below = [command.get_command(context, choice) for choice in choices]
        if None in below:
            return False
        command, depth = below[0], depth + 1
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help", "-h"}
    given = [word.partition("=")[0] for word in words[depth:] if re.match(r"--?[a-z]", word)]
    return set(given) <= known


TEXTS = st.text(st.characters(exclude_characters="`\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", codec="utf-8"), max_size=30)
MARKS = st.sampled_from(["", "run", "run by test_a, test_b", "not run: it waits for ever"])


@given(each=MARKS, written=st.lists(st.tuples(MARKS, st.sampled_from(["sh", "sql", "text", ""]), TEXTS), max_size=5))
def test_every_block_that_is_written_is_found_with_its_mark(each: str, written: list[tuple[str, str, str]]) -> None:
    parts = [f"# Page\n\n<!-- each block: {each} -->\n" if each else "# Page\n"]
    for mark, language, text in written:
        parts.append(f"Words.\n\n{f'<!-- {mark} -->\n' if mark else ''}```{language}\n{text}\n```\n")

    found = found_in("\n".join(parts), TOP / "page.md")

    told = [(mark or each, language, f"{text}\n") for mark, language, text in written if language in ("sh", "sql")]
    assert [(one.mark, one.language, one.text) for one in found] == told


def test_a_block_is_run_but_for_the_commands_that_it_leaves_out() -> None:
    text = "oceanus status\nkubectl get pods \\\n  --all\n\njournalctl -f\nkubectl-x\n"
    block = Block(TOP / "page.md", 1, "sh", text, "run without kubectl, journalctl")

    assert block.lines == "oceanus status\n\nkubectl-x\n"
    assert Block(TOP / "page.md", 1, "sh", text, "run").lines == text


def test_a_command_that_is_none_is_noticed() -> None:
    assert is_known(["failed", "retry", "--site", "x", "--dry-run"])
    assert is_known(["failed", "list|show|retry"])
    assert not is_known(["fail", "retry"])
    assert not is_known(["failed", "retry", "--sites"])
    assert not is_known(["k8s", "deploys", "all"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_target_and_file_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"`make ([\w-]+)`", text))
    targets |= {name for block in blocks(page) for name in re.findall(r"^(?:\w+=\S+ )*make ([\w-]+)", block.text, re.M)}
    # gke-eu and gke-us are what the page on regions makes.
    named = re.findall(r"\b(?:k8s|management/machine|redis_pd|tests)/(?!overlays/gke-(?:eu|us))[\w./-]*\w", text)

    assert targets - MADE == set()
    assert {name for name in named if not (TOP / name).exists()} == set()
