"""`python -m management.console`: check the settings and sites.yaml, then become gunicorn.

It shows what the environment names, else what `oceanus up` runs in DATA_DIR, as all commands of `oceanus` do.
"""

import os
import sys
from ipaddress import ip_address

from management import running
from oceanus import settings, sites
from oceanus.errors import MisconfiguredError
from oceanus.settings import ConsoleSettings
from oceanus.shards import shards
from oceanus.worker import refuse_to_start

CONNECTIONS = 200
# Streams never end by themselves, and nothing is lost with one: the page opens it again.
STOP_SECONDS = 1


def main() -> None:
    """Check everything that can be checked before the first request, and start the server."""
    environ = settings.environment()
    try:
        read = settings.read(ConsoleSettings, environ)
        check_address(read)
        shards(running.redis(environ), sites.load(running.sites_file(environ)))
        running.warehouse(environ)
    except MisconfiguredError as exc:
        refuse_to_start("console", exc)
    host = f"[{read.host}]" if ":" in read.host else read.host
    if sys.stderr.isatty():  # for `oceanus up` it says so itself
        print(f"console: http://{host}:{read.port}/", file=sys.stderr)
    os.execve(sys.executable, [sys.executable, "-m", "gunicorn", *arguments(read, host)], environ)  # noqa: S606


def check_address(read: ConsoleSettings) -> None:
    """Raise MisconfiguredError unless only this machine gets in, or a token is asked for."""
    if not read.token and not is_loopback(read.host):
        remedy = "set CONSOLE_TOKEN, or leave it at 127.0.0.1 and come by ssh -L"
        raise MisconfiguredError([f"CONSOLE_ADDRESS={read.host}: without a token anybody could read records: {remedy}"])


def is_loopback(host: str) -> bool:
    """Say whether an address to listen on is this machine's own alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def arguments(read: ConsoleSettings, host: str) -> list[str]:
    """Return gunicorn's command line: one process, for what it remembers is shared by all who look."""
    options = {
        "config": "python:management.console",  # never a gunicorn.conf.py that lies about
        "worker-class": "asgi",
        "bind": f"{host}:{read.port}",
        "workers": 1,
        "worker-connections": CONNECTIONS,
        "graceful-timeout": STOP_SECONDS,
        "log-level": "warning" if read.log.level == "INFO" else read.log.level.lower(),
    }
    return [
        *(f"--{name}={value}" for name, value in options.items()),
        "--no-control-socket",
        "management.console.wsgi:create()",
    ]


if __name__ == "__main__":
    main()
