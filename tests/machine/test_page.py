"""docs/one-machine.md: its commands are a shell's, and what they name is there."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from management.commands import oceanus
from tests.images.scratch import TOP
from tests.machine.test_units import MACHINE

PAGE = (TOP / "docs" / "one-machine.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
MADE = set(re.findall(r"^(\w+):", (TOP / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.partition("\n")[0][:40])
def test_each_block_is_a_shells_and_what_it_names_is_there(block: str) -> None:
    checked = subprocess.run(["sh", "-n", "-c", block], capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stderr) == (0, "")
    assert {name for name in re.findall(r"management/machine/[\w.]*\w", block) if not (TOP / name).exists()} == set()
    for line in block.replace("\\\n", " ").splitlines():
        words = [word for word in shlex.split(line) if not re.fullmatch(r"[A-Z]+=.*", word)]
        if words[0] == "oceanus":
            assert words[1] in oceanus.commands
        if words[0] == "make":
            assert words[1] in MADE


def test_every_file_of_the_machine_is_on_the_page() -> None:
    assert [file.name for file in MACHINE.iterdir() if f"management/machine/{file.name}" not in PAGE] == []


def test_every_file_that_it_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)[^)]*\)", PAGE)

    assert links
    assert [link for link in links if not (TOP / "docs" / link).resolve().exists()] == []


def test_the_command_is_a_shells_and_asks_the_service_for_its_settings() -> None:
    command = (MACHINE / "oceanus").read_text(encoding="utf-8")
    service = (MACHINE / "oceanus.service").read_text(encoding="utf-8")

    assert subprocess.run(["sh", "-n", str(MACHINE / "oceanus")], check=False).returncode == 0
    for shared in re.findall(r"(?:EnvironmentFile=-?|Environment=|User=)(\S+)", service):
        assert shared in command


def test_the_disk_holds_what_the_settings_may_fill() -> None:
    settings = Path(MACHINE / "oceanus.env").read_text(encoding="utf-8")
    [memory] = re.findall(r"^REDIS_MAXMEMORY=(\d+)gb$", settings, re.MULTILINE)
    [journal] = re.findall(r"^JOURNAL_MAX_BYTES=(\d+)$", settings, re.MULTILINE)
    [disk] = re.findall(r"--size (\d+)GB", PAGE)

    assert 4 * int(memory) + int(journal) / 2**30 + 1 <= int(disk)
