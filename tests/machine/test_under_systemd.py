"""The shipped units under a real systemd, number 1 of a namespace of its own. It takes a minute: `make images` runs it.

Changed is where things lie: the program is that of .venv, the settings and the disk are the test's, the port is a free
one, and BigQuery is the local one. What the service may do is as shipped.
"""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from management import parts
from tests.conftest import absent, until
from tests.e2e.test_up import BEACON
from tests.images.scratch import hidden, may_make_namespaces
from tests.machine.test_install import MINUTES
from tests.machine.test_units import MACHINE

SYSTEMD = "/usr/lib/systemd/systemd"
USER = "oceanus:x:64990:64990::/var/lib/oceanus:/usr/sbin/nologin\n"
BARE = ("basic", "multi-user", "network-online", "shutdown", "sockets", "sysinit")
# The interpreter in a home that others may not enter is mounted where they may; /var/lib is the test's.
BOOT = """
set -e
folder=$1; prefix=$2; hidden=$3
mount --make-rprivate /
if [ -n "$hidden" ]; then
  mount --bind "$prefix" "$folder/place"
  mount -t tmpfs -o mode=755 tmpfs "$hidden"
  mkdir -p "$prefix"
  mount --move "$folder/place" "$prefix"
fi
mount --bind "$folder/passwd" /etc/passwd
mount --bind "$folder/group" /etc/group
mount --bind "$folder/lib" /var/lib
mount -t tmpfs tmpfs /run
umount -l /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH="$folder/units" \
  "$4" --system --log-target=console --show-status=no
"""


class Machine:
    """A machine on which nothing runs but systemd and oceanus."""

    def __init__(self, folder: Path, group: Path) -> None:
        self.folder, self._group = folder, group
        self.port = parts.free_port()
        self.door = f"http://127.0.0.1:{self.port}"
        for name in ("units/oceanus.service.d", "lib", "place", "etc"):
            (folder / name).mkdir(parents=True)
        for name in ("passwd", "group"):
            (folder / name).write_text(Path("/etc", name).read_text(encoding="utf-8") + _of(name, USER))
        self._write()
        prefix = Path(sys.base_prefix)
        enter = 'echo $$ > "$0/cgroup.procs"; exec unshare --cgroup --mount --pid --fork --mount-proc --kill-child "$@"'
        boot = ["sh", "-c", BOOT, "boot", str(folder), str(prefix), str(hidden(prefix) or ""), SYSTEMD]
        with (folder / "systemd.log").open("wb") as log:
            self._outer = subprocess.Popen(["sh", "-c", enter, str(group), *boot], stdout=log, stderr=log)
        until(lambda: self.systemctl("is-active", "oceanus.service").stdout == "active\n", 90)

    def systemctl(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Ask its systemd."""
        return self.run("systemctl", *words)

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command there, as root."""
        init = [str(one.pid) for one in psutil.Process(self._outer.pid).children()]
        enter = ["nsenter", "--target", *init, "--mount", "--pid", *words]
        return subprocess.run(enter, capture_output=True, text=True, check=False)

    def off(self) -> None:
        """Pull its plug."""
        for init in psutil.Process(self._outer.pid).children():
            init.kill()
        self._outer.wait(20)
        for group in sorted(self._group.glob("**/"), reverse=True):
            group.rmdir()

    def _write(self) -> None:
        """Write units and settings."""
        for name in ("oceanus.service", "oceanus.socket", "oceanus"):
            text = (MACHINE / name).read_text(encoding="utf-8").replace("/opt/oceanus/current", sys.prefix)
            text = text.replace("/etc/oceanus", str(self.folder / "etc")).replace("8080", str(self.port))
            (self.folder / "units" / name).write_text(text)
        for name in BARE:
            (self.folder / "units" / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
        wants = "[Unit]\nDefaultDependencies=no\nWants=oceanus.socket oceanus.service\n"
        (self.folder / "units" / "default.target").write_text(wants)
        # Here the program may lie in a home, or in /tmp.
        also = f"[Service]\nProtectHome=read-only\nStandardOutput=append:{self.folder}/out.log\nStandardError=inherit\n"
        also += "PrivateTmp=no\n" if Path(sys.prefix).is_relative_to("/tmp") else ""
        (self.folder / "units" / "oceanus.service.d" / "test.conf").write_text(also)
        settings = (MACHINE / "oceanus.env").read_text(encoding="utf-8").splitlines()
        local = [line for line in settings if not line.startswith(("PROJECT_ID", "SITES_FILE"))]
        (self.folder / "etc" / "oceanus.env").write_text("\n".join(local) + "\n")


def _of(name: str, user: str) -> str:
    """Return a user's line in /etc/passwd, or his group's in /etc/group."""
    return user if name == "passwd" else ":".join(user.split(":")[:3]) + ":\n"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine that has started; its folder is where another user can reach it."""
    groups = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[2] == "cgroup2"]
    if os.geteuid() != 0 or not may_make_namespaces() or not Path(SYSTEMD).exists() or not groups:
        absent("root with namespaces, systemd and cgroup2")
    if hidden(Path(sys.prefix)):
        absent(f"another user cannot reach {sys.prefix}")
    folder, group = Path(f"/tmp/oceanus-machine-{os.getpid()}"), Path(groups[0], f"oceanus-{os.getpid()}")
    folder.mkdir(mode=0o755)
    group.mkdir()
    running = Machine(folder, group)
    yield running
    running.off()
    shutil.rmtree(folder)


@MINUTES
def test_a_restart_by_systemd_refuses_nobody_and_the_command_proves_it(machine: Machine) -> None:
    over = threading.Event()

    def visit() -> list[int]:
        statuses = []
        while not over.wait(0.02):
            statuses.append(httpx.get(machine.door + BEACON, timeout=120).status_code)
        return statuses

    with ThreadPoolExecutor(4) as pool:
        visitors = [pool.submit(visit) for _ in range(4)]
        try:
            restarted = machine.systemctl("restart", "oceanus.service")
        finally:
            over.set()
        answered = [status for one in visitors for status in one.result()]

    assert restarted.returncode == 0
    assert set(answered) == {200}
    landed = f'"landed":{len(answered)}'
    command = ("sh", str(machine.folder / "units" / "oceanus"))
    until(lambda: landed in machine.run(*command, "status", "--format", "json").stdout.replace(" ", ""), 60)
    audit = machine.run(*command, "audit")
    assert (audit.returncode, audit.stdout.splitlines()[-1]) == (0, "audit: agrees")


@MINUTES
def test_it_comes_back_after_it_was_killed(machine: Machine) -> None:
    before = machine.systemctl("show", "--property=MainPID", "oceanus.service").stdout
    machine.systemctl("kill", "--signal=KILL", "--kill-who=main", "oceanus.service")

    assert httpx.get(machine.door + BEACON, timeout=120).status_code == 200  # waited for whom systemd starts anew
    until(lambda: machine.systemctl("is-active", "oceanus.service").stdout == "active\n", 90)
    assert machine.systemctl("show", "--property=MainPID", "oceanus.service").stdout != before


@MINUTES
def test_its_data_is_for_nobody_else(machine: Machine) -> None:
    modes = machine.run("stat", "--format=%U %a", "/var/lib/oceanus", "/var/lib/oceanus/data/redis")

    assert modes.stdout == "oceanus 700\noceanus 700\n"


@MINUTES
def test_stopped_with_its_socket_it_stays_stopped(machine: Machine) -> None:
    assert machine.systemctl("stop", "oceanus.socket", "oceanus.service").returncode == 0

    with socket.socket() as visitor:
        assert visitor.connect_ex(("127.0.0.1", machine.port)) != 0
    assert machine.systemctl("is-active", "oceanus.service").stdout == "inactive\n"
