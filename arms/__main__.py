"""`python -m arms`: check the settings and sites.yaml, then become gunicorn.

`python -m arms --push-journal DIR` pushes what a journal folder holds whose arms is no more, and ends;
`python -m arms --before-stop LEAST MOST` waits until the arms that runs here may be told to stop (`arms.leaving`).
"""

import argparse
import asyncio
import os
import socket
import sys
import tempfile
from pathlib import Path

from arms import leaving, spread
from arms.journal import Journal
from arms.store import Store
from oceanus import settings, sites, worker
from oceanus.errors import MisconfiguredError
from oceanus.settings import ArmsSettings
from oceanus.shards import DEFAULT, Shards, shards
from oceanus.spool import Pusher, connect_pusher
from oceanus.worker import refuse_to_start

# The longest legal beacon: the record's fields, each character percent-encoded. gunicorn's 4,094 answers 414 to these.
REQUEST_LINE_BYTES = 65_536
PUSH_SECONDS = 5.0


def main() -> None:
    """Check everything that can be checked before the first request, and start the server."""
    asked = argparse.ArgumentParser(prog="python -m arms", description="The collector; configured by environment.")
    asked.add_argument("--push-journal", metavar="DIR", help="push what an orphaned journal folder holds, and end")
    asked.add_argument(
        "--before-stop",
        nargs=2,
        type=float,
        metavar=("LEAST", "MOST"),
        help="wait LEAST seconds, and up to MOST until the journal of the arms that runs here is empty; exit 1 if not",
    )
    given = asked.parse_args()
    folder = given.push_journal
    try:
        read = settings.read(ArmsSettings)
        if given.before_stop:  # whatever else is wrong by now: the balancer still sends visitors here
            sys.exit(before_stop(read.port, *given.before_stop))
        chosen = shards(read.redis, sites.load(read.sites.file))
        check_folder("--push-journal", folder) if folder else check_folder("JOURNAL_DIR", read.journal_dir)
        check_socket(read.listen_fd)
    except MisconfiguredError as exc:
        refuse_to_start("arms", exc)
    if folder:
        sys.exit(asyncio.run(push_journal(read, chosen, Path(folder).absolute())))
    environ = settings.environment()
    if read.workers > 1:
        environ[settings.MULTIPROCESS] = tempfile.mkdtemp(prefix="oceanus-metrics-")
    os.execve(sys.executable, [sys.executable, "-m", "gunicorn", *arguments(read)], environ)  # noqa: S606


def check_folder(name: str, folder: str) -> None:
    """Raise MisconfiguredError unless the folder, where one is named, can be written."""
    if folder and not (Path(folder).is_dir() and os.access(folder, os.W_OK)):
        raise MisconfiguredError([f"{name}={folder}: is no folder that can be written: make it, on a disk that lasts"])


def check_socket(number: int) -> None:
    """Raise MisconfiguredError unless the socket, where one is handed over, is one that listens."""
    if number and not listens(number):
        raise MisconfiguredError([f"LISTEN_FD={number}: is no listening socket: `oceanus up` sets it, nobody else"])


def listens(number: int) -> bool:
    """Say whether a descriptor is a listening socket."""
    try:
        with socket.socket(fileno=os.dup(number)) as handed:
            return bool(handed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False


async def push_journal(read: ArmsSettings, chosen: Shards, folder: Path) -> int:
    """Push what the folder's segments hold, and those below it, each to its Redis; return the exit code.

    Segments of living processes are left alone, and those for a Redis that is not configured.
    """
    worker.begin("arms", read.log)
    below = spread.strange(str(folder), [])
    left = [await _push_journal(read, chosen, one) for one in [folder, *below]]
    return 1 if any(left) else 0


async def _push_journal(read: ArmsSettings, chosen: Shards, folder: Path) -> bool:
    """Push one folder's segments to the Redis that it is named after, else to the default one; say if some are left."""
    is_named = ":" in folder.name
    name = chosen.at(folder.name) if is_named else DEFAULT
    if name is None:
        print(f"{folder}: REDIS_SHARDS names no Redis {folder.name}: add its address", file=sys.stderr)
        return True
    pusher = Pusher(connect_pusher(chosen.redis[name], PUSH_SECONDS), socket.gethostname(), os.getpid())
    journal = Journal(folder, "push-journal", read.journal_max_bytes)
    journal.take_over()
    records = journal.records
    await Store(pusher, journal, PUSH_SECONDS, name).mend()
    await pusher.close()
    left = journal.records
    print(f"{records - left} records pushed from {folder}, {left} left", file=sys.stderr if left else sys.stdout)
    return bool(left)


def before_stop(port: int, least: float, most: float) -> int:
    """Wait until arms may be stopped; return the exit code: 1 if its journal is not empty by then."""
    left = leaving.wait(lambda: leaving.ask(port), least, most)
    if left:
        what = "arms does not say what is" if left == leaving.UNKNOWN else f"{left} records are left"
        print(f"{what} in the journal, for the next arms on its volume", file=sys.stderr)
    return 1 if left else 0


def arguments(read: ArmsSettings) -> list[str]:
    """Return gunicorn's command line."""
    options = {
        "config": "python:arms.server",
        "worker-class": "arms.server.Worker",
        "logger-class": "arms.server.Logger",
        "bind": f"fd://{read.listen_fd}" if read.listen_fd else f"{read.host}:{read.port}",
        "workers": read.workers,
        "keep-alive": 1,  # any but 0: how long is said by arms.server.TURNS
        "worker-connections": read.max_connections,
        "graceful-timeout": read.grace_seconds,
        "limit-request-line": REQUEST_LINE_BYTES,
        "http-parser": "fast",  # never silently the one in Python
        "log-level": read.log.level.lower(),
        "access-logfile": "",
    }
    words = [f"--{name}={value}" for name, value in options.items() if value != ""]
    return [*words, "--no-control-socket", "arms.wsgi:create()"]


if __name__ == "__main__":
    main()
