"""`oceanus` as management/machine/oceanus runs it: with the service's settings."""

import os
import sys
from pathlib import Path

settings = dict(
    line.split("=", 1) for line in Path(os.environ["SETTINGS"]).read_text(encoding="utf-8").splitlines() if "=" in line
)
NAMES = ("PATH", "HOME", "DATA_DIR", "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET")
kept = {name: os.environ[name] for name in NAMES if name in os.environ}
program = str(Path(sys.executable).with_name("oceanus"))
os.execve(program, [program, *sys.argv[1:]], kept | settings)
