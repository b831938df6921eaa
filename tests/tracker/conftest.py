"""The tracker, built anew from its sources."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import absent

TRACKER = Path(__file__).parents[2] / "tracker"


@dataclass(frozen=True)
class Built:
    """What a build has made: what arms serves, and the package's files."""

    static: Path
    dist: Path


def node(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of Node.js in tracker/, whose packages are installed once."""
    if not shutil.which("node") or not shutil.which("npm"):
        absent("no Node.js with npm (Debian: apt-get install nodejs npm), which builds the tracker")
    if not (TRACKER / "node_modules" / ".package-lock.json").exists():
        installed = subprocess.run(
            ["npm", "ci", "--ignore-scripts"], cwd=TRACKER, capture_output=True, text=True, check=False
        )
        if installed.returncode:
            absent(f"npm ci: {installed.stderr[-500:]}")
    return subprocess.run(words, cwd=TRACKER, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The tracker, built anew."""
    folder = tmp_path_factory.mktemp("built")
    run = node("node", "build.mjs", str(folder / "static"), str(folder / "dist"))
    assert run.returncode == 0, run.stderr
    return Built(folder / "static", folder / "dist")
