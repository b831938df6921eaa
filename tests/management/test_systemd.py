"""What systemd hands over, and what it hears."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from management import systemd
from oceanus.errors import MisconfiguredError
from oceanus.settings import UpSettings, read
from tests.conftest import handed_over


def settings(**environ: str) -> UpSettings:
    """Return settings with what systemd sets."""
    return read(UpSettings, environ)


def test_only_what_is_meant_for_this_process_is_taken():
    assert systemd.handed_over(settings(), os.getpid()) is None
    assert systemd.handed_over(settings(LISTEN_FDS="1", LISTEN_PID=str(os.getpid() + 1)), os.getpid()) is None


def test_the_socket_is_taken_with_its_address():
    listener = socket.create_server(("127.0.0.1", 0))
    lines = (
        "import os\n"
        "from management import systemd\n"
        "from oceanus.settings import UpSettings, read\n"
        "print(systemd.handed_over(read(UpSettings), os.getpid()).getsockname())\n"
    )

    words = handed_over(listener, [sys.executable, "-c", lines])
    run = subprocess.run(words, pass_fds=[listener.fileno()], capture_output=True, text=True, check=False)

    assert (run.stdout, run.stderr) == (f"{listener.getsockname()}\n", "")


def test_several_sockets_are_a_mistake():
    with pytest.raises(MisconfiguredError, match=r"systemd hands over 2 sockets: oceanus.socket has one ListenStream="):
        systemd.handed_over(settings(LISTEN_FDS="2", LISTEN_PID="7"), 7)


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_that_all_is_up(tmp_path: Path, abstract: bool):
    address = f"@oceanus-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hears:
        hears.bind(address.replace("@", "\0"))

        systemd.tell(settings(NOTIFY_SOCKET=address), "READY=1")

        assert hears.recv(100) == b"READY=1"


def test_without_systemd_nobody_is_told():
    systemd.tell(settings(), "READY=1")
    systemd.tell(settings(NOTIFY_SOCKET="/nowhere/notify"), "READY=1")
