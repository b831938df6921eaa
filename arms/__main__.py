"""`python -m arms`: check the settings and sites.yaml, then become gunicorn."""

import os
import sys
import tempfile

from oceanus import settings, sites
from oceanus.errors import MisconfiguredError
from oceanus.settings import ArmsSettings
from oceanus.worker import refuse_to_start

# The longest legal beacon: the record's fields, each character percent-encoded. gunicorn's 4,094 answers 414 to these.
REQUEST_LINE_BYTES = 65_536
KEEPALIVE_SECONDS = 75  # longer than a load balancer keeps its end: closing first would cut its next request


def main() -> None:
    """Check everything that can be checked before the first request, and start the server."""
    try:
        read = settings.read(ArmsSettings)
        sites.load(read.sites.file)
    except MisconfiguredError as exc:
        refuse_to_start("arms", exc)
    environ = settings.environment()
    if read.workers > 1:
        environ[settings.MULTIPROCESS] = tempfile.mkdtemp(prefix="oceanus-metrics-")
    os.execve(sys.executable, [sys.executable, "-m", "gunicorn", *arguments(read)], environ)  # noqa: S606


def arguments(read: ArmsSettings) -> list[str]:
    """Return gunicorn's command line."""
    options = {
        "config": "python:arms.server",
        "worker-class": "arms.server.Worker",
        "bind": f"{read.host}:{read.port}",
        "workers": read.workers,
        "keep-alive": KEEPALIVE_SECONDS,
        "graceful-timeout": read.grace_seconds,
        "limit-request-line": REQUEST_LINE_BYTES,
        "log-level": read.log.level.lower(),
        "access-logfile": "",
    }
    words = [f"--{name}={value}" for name, value in options.items() if value != ""]
    return [*words, "--no-control-socket", "arms.wsgi:create()"]


if __name__ == "__main__":
    main()
