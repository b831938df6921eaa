"""What the pages show is run: every block that is marked `run`, in its page's order, beside one `oceanus up`."""

import hashlib
import hmac
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from management import parts
from management.programs import SAMPLE_ALERTS
from oceanus.sites import SAMPLE
from revelation.webhook import signature
from tests.conftest import RedisProcess, absent, end, until
from tests.docs.blocks import PAGES, TOP, Block, blocks, run_by
from tests.e2e.test_up import Up

RUN = [block for page in PAGES for block in blocks(page) if block.is_run]
SHELL = [block for block in RUN if block.language == "sh"]
SITES = [block for block in RUN if block.language == "yaml"]
ADDRESS = "http://127.0.0.1:8080"
LINE = '192.0.2.{n} - - [22/Nov/2026:21:15:0{n} +0000] "GET /p{n} HTTP/1.1" 200 35 "-" "Mozilla/5.0"\n'


@dataclass
class Made(Up):
    """What the README's first command starts, with a folder beside it in which a newcomer works."""

    known: set[str] = field(default_factory=set)

    def popen(self) -> "subprocess.Popen[str]":
        """Start it, with the environment of this very test run."""
        words = [*run_by(TOP / "README.md", "test_make_up_says_ready").split(), "--old-file=.venv/ready"]
        files = {"SITES_FILE": str(self.folder / "all.yaml"), "ALERTS_FILE": str(SAMPLE_ALERTS), "CONSOLE": "0"}
        return subprocess.Popen(words, cwd=TOP, env=self.environ | files, stdout=subprocess.PIPE, text=True)

    def bash(self, text: str) -> "subprocess.CompletedProcess[str]":
        """Run lines of a page as they stand, but for the port; what they start beside them must end, too.

        A command of ours that another page has shown in these very words is not run again.
        """
        fresh = [line for line in text.splitlines() if line not in self.known or not line.startswith("oceanus ")]
        self.known.update(fresh)
        lines = "\n".join(fresh).replace(ADDRESS, self.url.rstrip("/"))
        words = ["bash", "-euo", "pipefail", "-c", f"{lines}\nwait"]
        ran = subprocess.run(words, cwd=self.folder, env=self.environ, capture_output=True, timeout=90, check=False)
        said, complained = (told.decode(errors="replace") for told in (ran.stdout, ran.stderr))  # a GIF is no text
        return subprocess.CompletedProcess(words, ran.returncode, said, complained)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """A running `make up`, whose sites are the sample's and those of the pages."""
    if not (TOP / ".venv" / "ready").exists():
        absent("no .venv: make .venv/ready")
    folder = tmp_path_factory.mktemp("newcomer")
    declared = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))
    for block in SITES:
        example = yaml.safe_load(block.text)
        for part in ("shapes", "sites"):
            declared[part] |= example.get(part, {})
    (folder / "all.yaml").write_text(yaml.safe_dump(declared, sort_keys=False), encoding="utf-8")
    (folder / "sites.yaml").write_text(SITES[0].text, encoding="utf-8")
    (folder / "access.log").write_text("".join(LINE.format(n=n) for n in range(1, 4)), encoding="utf-8")
    (folder / ".venv").symlink_to(sys.prefix)
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "DATA_DIR": str(folder / "data"),
        "PORT": str(parts.free_port()),
    }
    running = Made(folder, environ)
    running.start()
    yield running
    end(running.process, 60)


def test_make_up_says_ready(up: Made) -> None:
    assert up.url == f"http://127.0.0.1:{up.environ['PORT']}/"


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_what_the_page_shows_runs(up: Made, block: Block) -> None:
    ran = up.bash(block.lines)

    assert ran.returncode == 0, f"{block}\n{block.lines}\n{ran.stdout}\n{ran.stderr}"
    assert "Traceback" not in ran.stderr


def test_the_page_moves_what_an_original_left(up: Made, own_redis: RedisProcess) -> None:
    """Records as the original's arms pushed them: JSON, every value a text."""
    record = {
        "dt": "2026-11-01 10:00:00.5",
        "oid": "2",
        "sid": "0123",
        "rad": "192.0.2.1",
        "evt": "pageview",
        "url": "https://old.example/",
    }
    own_redis.client().lpush("bizocean", json.dumps(record), "")
    text = run_by(TOP / "docs" / "original.md", "test_the_page_moves_what_an_original_left")

    ran = up.bash(text.replace("old-redis:6379", f"127.0.0.1:{own_redis.port}"))

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "bizocean: 2 records wait" in ran.stdout
    assert "bizocean: 1 record moved, 1 empty text passed over" in ran.stdout
    until(lambda: up.sql("SELECT url FROM bizocean WHERE sid = '0123'") == [{"url": "https://old.example/"}])


def test_a_receiver_knows_our_signature() -> None:
    names: dict[str, Any] = {"hmac": hmac, "hashlib": hashlib}
    exec(run_by(TOP / "docs" / "alerts.md", "test_a_receiver_knows_our_signature"), names)
    is_ours: Callable[[str, dict[str, str], bytes, float], bool] = names["is_ours"]
    headers = {"X-Oceanus-Timestamp": "1000", "X-Oceanus-Signature": signature("secret", "1000", b"{}")}

    assert is_ours("secret", headers, b"{}", 1299.0)
    assert not is_ours("secret", headers, b"{}", 1300.0)
    assert not is_ours("secret", headers, b"[]", 1000.0)
    assert not is_ours("other", headers, b"{}", 1000.0)
