"""`make install`: what one machine runs, from the lock files. It takes a minute: `make images` alone runs it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from management.programs import SAMPLE_ALERTS
from oceanus.sites import SAMPLE
from tests.images.scratch import TOP
from tests.images.test_dockerfile import version
from tests.test_house import PROCESSES

MINUTES = pytest.mark.skipif(os.environ.get("IMAGES") != "all", reason="make images")


def make(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run make at the top."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | environ
    return subprocess.run(["make", "-C", str(TOP), *words], env=given, capture_output=True, text=True, check=False)


@MINUTES
@pytest.mark.timeout(600)
def test_everything_that_up_starts_is_installed(tmp_path: Path) -> None:
    target = tmp_path / "0.1.0"

    installed = make("install", f"TO={target}", PYTHON=os.path.realpath(sys.executable))

    assert installed.returncode == 0, installed.stderr
    environ = {"PATH": "/usr/bin:/bin", "SITES_FILE": str(SAMPLE), "ALERTS_FILE": str(SAMPLE_ALERTS)}
    environ |= {"PROJECT_ID": "mine", "DATA_SET": "oceanus", "PORT": "none"}
    for process in PROCESSES:  # it can only name the wrong setting when all its modules are there
        words = [str(target / "bin" / "python"), "-m", process]
        run = subprocess.run(words, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
        [line] = run.stderr.splitlines()
        assert line.startswith(f"{process}: PORT='none': ")
    command = [str(target / "bin" / "oceanus"), "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"oceanus {version()}\n"
    assert not list(target.glob("lib/*/site-packages/local_bigquery"))
    shutil.rmtree(target)


def test_it_says_what_is_missing() -> None:
    run = make("install", TO="")

    assert run.returncode != 0
    assert "TO is not set: the folder to install into, such as /opt/oceanus/0.1.0" in run.stderr
