"""`systemctl` for one machine's oceanus.socket and oceanus.service, as far as the pages of the drills use it.

The socket itself is the test's, and stays open, as that of systemd does while the service is stopped. A start returns
when the service has said that it is ready; one that ends before is a failure, and is not tried again here.
"""

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

MACHINE = Path(os.environ["MACHINE"])
PID, LOG = MACHINE / "up.pid", MACHINE / "service.log"
READY_SECONDS = 60
SERVICE = "oceanus.service"


def start() -> None:
    """Start `oceanus up` as the unit does, and wait until it is ready."""
    if PID.exists():
        return
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told = MACHINE / "notify"
    told.unlink(missing_ok=True)
    ear.bind(str(told))
    listener = int(os.environ["LISTENER"])
    lines = (
        "import os, sys\n"
        f"os.dup2({listener}, 3)\n"
        f"{listener} != 3 and os.close({listener})\n"
        "os.environ |= {'LISTEN_FDS': '1', 'LISTEN_PID': str(os.getpid())}\n"
        "os.execvp('oceanus', ['oceanus', 'up'])\n"
    )
    with LOG.open("ab") as log:
        up = subprocess.Popen(
            [sys.executable, "-c", lines],
            env=os.environ | {"NOTIFY_SOCKET": str(told)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[listener],
            start_new_session=True,
        )
    PID.write_text(str(up.pid), encoding="utf-8")
    ear.settimeout(0.1)
    for _ in range(READY_SECONDS * 10):
        try:
            if ear.recv(100) == b"READY=1":
                return
        except TimeoutError:
            if up.poll() is not None:
                break
    PID.unlink()
    sys.exit(f"Job for {SERVICE} failed because the control process exited with error code.")


def stop() -> None:
    """Tell it to stop, and wait until it has."""
    if not PID.exists():
        return
    pid = int(PID.read_text(encoding="utf-8"))
    handle = os.pidfd_open(pid)
    os.kill(pid, signal.SIGTERM)
    select.select([handle], [], [])
    PID.unlink()


verb, *units = sys.argv[1:]
if SERVICE in units:
    if verb in ("stop", "restart"):
        stop()
    if verb in ("start", "restart"):
        start()
if verb not in ("start", "stop", "restart"):
    sys.exit(f"systemctl {verb}: not played here")
