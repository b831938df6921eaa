"""Each image as it would be: installed from its lock file, started by its entry point, as its user, and read-only.

arms and r2bq always; with IMAGES=all (`make images`) the others too, which install as much again.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import httpx
import psutil
import pytest
import redis
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from management import parts
from management.programs import SAMPLE_ALERTS
from oceanus.errors import MisconfiguredError
from oceanus.sites import SAMPLE
from tests.arms.conftest import GOOD
from tests.conftest import RedisProcess, Warehouse, absent, end, is_ok, until, wait_for_port
from tests.images.scratch import NotHereError, Room, allowed
from tests.images.test_dockerfile import IMAGES, OURS, REDIS, TOP, version

SHORT = ("arms", "r2bq")
CHOSEN = IMAGES if os.environ.get("IMAGES") == "all" else SHORT


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    """The room in which the images are installed, each once for all tests."""
    ours = Room(OURS, TOP)
    yield ours
    ours.remove()


@dataclass
class Running:
    """An entry point that runs."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def main(self) -> psutil.Process:
        """Return the process itself, which may be number 1 in a namespace of its own."""
        outer = psutil.Process(self.process.pid)
        return outer.children()[0] if outer.name() == "unshare" else outer

    def stop(self) -> int:
        """Send SIGTERM to the process itself, as Kubernetes does, and return its exit code."""
        self.main().send_signal(signal.SIGTERM)
        return self.process.wait(40)


@dataclass
class Image:
    """One image in the room: how to start it."""

    room: Room
    name: str
    folder: Path

    def popen(self, environ: Mapping[str, str], *arguments: str, writable: tuple[str, ...] = ()) -> Running:
        """Start its entry point; beside /tmp it may write to these folders of `folder`."""
        self.folder.chmod(0o755)
        mounts = [self.folder / name for name in ("tmp", *writable)]
        for mount in mounts:
            mount.mkdir(exist_ok=True)
        log = self.folder / f"{self.name}.log"
        given = self.room.environ(self.name, {"TMPDIR": str(mounts[0])} | dict(environ))
        words = self.enclosed([*self.room.command(self.name), *arguments], *writable)
        with log.open("wb") as out:
            process = subprocess.Popen(words, env=given, cwd="/", stdout=out, stderr=out)
        return Running(process, log)

    def enclosed(self, words: list[str], *writable: str) -> list[str]:
        """Return `words` as a command of the image's user, who may write to /tmp and to these folders."""
        try:
            return self.room.enclosed(self.name, words, [self.folder / name for name in ("tmp", *writable)])
        except NotHereError as exc:
            absent(str(exc))
            raise


@pytest.fixture
def image(room: Room, request: pytest.FixtureRequest) -> Image:
    """An installed image, with a folder that its user can reach."""
    room.build(request.param)
    folder = room.root("mounts") / request.node.name.partition("[")[0] / request.param
    folder.mkdir(parents=True)
    return Image(room, request.param, folder)


def locked(image: str) -> set[str]:
    """Return what a lock file names for this machine, as `name==version`."""
    lines = (TOP / "requirements" / f"{image}.txt").read_text(encoding="utf-8").splitlines()
    named = [Requirement(line.removesuffix("\\")) for line in lines if line[:1].isalnum()]
    return {f"{canonicalize_name(one.name)}{one.specifier}" for one in named if not one.marker or one.marker.evaluate()}


# r2bq's list is long, and is made for the long form alone.
@pytest.mark.parametrize("image", [name for name in CHOSEN if name != "r2bq" or CHOSEN == IMAGES], indirect=True)
def test_an_image_holds_what_its_lock_file_names_and_ours(image: Image) -> None:
    python = image.room.root(image.name) / "opt" / "oceanus" / "bin" / "python"
    listed = subprocess.run(
        [Path(sys.executable).with_name("cyclonedx-py"), "environment", str(python), "--output-format", "JSON"],
        capture_output=True,
        check=True,
    )

    components = json.loads(listed.stdout)["components"]
    held = {f"{canonicalize_name(one['name'])}=={one['version']}" for one in components}
    assert held == locked(image.name) | {f"oceanus=={version()}"}


@pytest.mark.parametrize("image", [name for name in CHOSEN if name != "management"], indirect=True)
def test_an_image_starts_answers_and_stops(image: Image, redis_server: RedisProcess, warehouse: Warehouse) -> None:
    port = parts.free_port()
    given = {"PORT": str(port), "SITES_FILE": str(SAMPLE), "LOG_LEVEL": "INFO"} | redis_server.environ
    more = {
        "arms": {"WORKERS": "2", "JOURNAL_DIR": str(image.folder / "journal")},
        "revelation": {"ALERTS_FILE": str(SAMPLE_ALERTS)} | warehouse.environ,
    }
    environ = given | more.get(image.name, warehouse.environ)

    running = image.popen(environ, writable=("journal",) if image.name == "arms" else ())
    address = f"http://127.0.0.1:{port}/{'lb' if image.name == 'arms' else 'hc'}"
    until(lambda: is_ok(address) or running.process.poll() is not None)
    assert running.process.poll() is None, running.log.read_text()
    uids = running.main().uids()

    assert uids.effective == (65532 if os.geteuid() == 0 else os.geteuid())
    if image.name == "arms":
        assert httpx.get(f"http://127.0.0.1:{port}/swallow/bizocean?{urlencode(GOOD)}").status_code == 200
    assert (running.stop(), "Traceback" in running.log.read_text()) == (0, False)


@pytest.mark.skipif("management" not in CHOSEN, reason="make images")
@pytest.mark.parametrize("image", ["management"], indirect=True)
def test_the_command_runs_in_its_image(image: Image) -> None:
    running = image.popen({"SITES_FILE": str(SAMPLE)}, "check", "--offline")

    assert running.process.wait(60) == 0
    assert running.log.read_text().startswith("sites.yaml: 10 sites")


@pytest.mark.parametrize("image", ["arms"], indirect=True)
def test_an_image_cannot_be_changed_by_what_runs_in_it(image: Image) -> None:
    packages = next(image.room.root("arms").glob("opt/oceanus/lib/python3*/site-packages"))
    (image.folder / "tmp").mkdir()
    tries = [["touch", str(place / "written")] for place in (image.room.root("arms"), packages / "arms")]
    allowed_one = ["touch", str(image.folder / "tmp" / "written")]

    runs = [subprocess.run(image.enclosed(words), capture_output=True, check=False) for words in (*tries, allowed_one)]

    assert [run.returncode for run in runs] == [1, 1, 0]


@pytest.mark.parametrize("image", ["arms"], indirect=True)
def test_without_its_mounts_arms_says_what_is_missing(image: Image) -> None:
    journal = image.folder / "read-only"
    journal.mkdir()
    journal.chmod(0o555)

    running = image.popen({"SITES_FILE": str(SAMPLE), "JOURNAL_DIR": str(journal)})

    assert running.process.wait(60) == 1
    told = f"arms: JOURNAL_DIR={journal}: is no folder that can be written: make it, on a disk that lasts\n"
    assert running.log.read_text() == told


def test_redis_starts_from_its_image_with_the_settings_of_the_guarantee() -> None:
    try:
        server = parts.find_redis()
    except MisconfiguredError as exc:
        absent(str(exc))
    room, port = Room(REDIS, TOP / "redis_pd"), parts.free_port()
    try:
        room.build("redis_pd")
        (room.root("bin")).mkdir()
        (room.root("bin") / "redis-server").symlink_to(server.program)
        environ = room.environ("redis_pd", {"REDIS_MAXMEMORY": "64mb", "PATH": f"{room.root('bin')}:/usr/bin:/bin"})
        words = [*room.command("redis_pd"), "--port", str(port)]
        process = subprocess.Popen(words, env=environ, stdout=subprocess.DEVNULL, cwd=room.root("redis_pd") / "data")
        wait_for_port(port, process)
        told = redis.Redis(port=port, decode_responses=True).config_get()
        wanted = {
            "appendfsync": "always",
            "appendonly": "yes",
            "bind": "* -::*",
            "dir": str(room.root("redis_pd") / "data"),
            "maxmemory": str(64 * 1024 * 1024),
            "maxmemory-policy": "noeviction",
            "protected-mode": "yes",
        }

        assert {name: told[name] for name in wanted} == wanted
        assert end(process) == 0
    finally:
        end(process)
        room.remove()


def test_nothing_but_what_is_built_from_gets_into_a_build() -> None:
    assert not {"tests", ".git", ".venv", ".oceanus", "docs"} & set(allowed(TOP))
