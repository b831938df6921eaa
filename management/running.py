"""What runs: `oceanus up` writes it to up.json, and the other commands find their target by it.

The environment goes first: PROJECT_ID or BIGQUERY_EMULATOR_HOST name a warehouse, REDIS_PD_SERVICE_HOST a Redis.
"""

import hashlib
import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from management import leftovers, programs
from management.folder import write
from management.leftovers import Mark
from management.programs import Layout, with_defaults
from oceanus.errors import MisconfiguredError
from oceanus.settings import RedisSettings, UpSettings, WarehouseSettings, read
from oceanus.shards import Spools, shards
from oceanus.sites import SAMPLE

FILE = "up.json"


@dataclass(frozen=True, slots=True)
class Process:
    """One of the processes that `up` runs, and where it says that it lives."""

    pid: int
    health: str


@dataclass(frozen=True, slots=True)
class Running:
    """A living `oceanus up`: its addresses, and the environment that leads another process to them."""

    url: str
    sites_file: str
    alerts_file: str
    trust_token_file: Path
    arms_metrics: str
    environ: Mapping[str, str]
    sites_digest: str
    processes: Mapping[str, Process]


def save(
    plan: Layout,
    environ: Mapping[str, str],
    up: Mark,
    token_file: Path,
    children: Mapping[str, Mark],
    console: str = "",
    sites_digest: str = "",
) -> None:
    """Write up.json. `environ` is what the children were given, `sites_digest` that of sites.yaml as it was then."""
    written = {
        "pid": up.pid,
        "create_time": up.create_time,
        "url": plan.url,
        "console": console or None,
        "redis": {
            "host": environ["REDIS_PD_SERVICE_HOST"],
            "port": read(RedisSettings, environ).port,
            "own": plan.own_redis,
            "shards": environ.get("REDIS_SHARDS", ""),
        },
        "bigquery": {
            "project": plan.project,
            "rest": environ.get("BIGQUERY_EMULATOR_HOST") or None,
            "grpc": environ.get("BIGQUERY_STORAGE_EMULATOR_HOST") or None,
        },
        "dataset": plan.dataset,
        "sites_file": plan.sites_file,
        "sites_digest": sites_digest,
        "alerts_file": plan.alerts_file,
        "trust_token_file": str(token_file),
        "arms_metrics": f"{plan.url}metrics",
        "children": {name: one.pid for name, one in children.items()},
        "health": {name: f"http://{address}/hc" for name, address in _addresses(plan).items()},
    }
    write(plan.data_dir / FILE, json.dumps(written, indent=2) + "\n")
    write(plan.targets_file, json.dumps(targets(plan, console), indent=2) + "\n")


def targets(plan: Layout, console: str = "") -> list[dict[str, object]]:
    """Return where each process shows /metrics, as Prometheus' file_sd takes it; `console` is its URL, if it runs.

    An instance is the process' name: the ports are others at each start.
    """
    where = _addresses(plan) | ({"console": urlsplit(console).netloc} if console else {})
    return [{"targets": [address], "labels": {"instance": name}} for name, address in where.items()]


def _addresses(plan: Layout) -> dict[str, str]:
    """Return where each of our processes answers."""
    names = ["r2bq", "table_manager", *(["revelation"] if plan.alerts_file else [])]
    where = {name: f"{programs.LOOPBACK}:{plan.ports[name]}" for name in names}
    return {"arms": urlsplit(plan.url).netloc} | where


def find(environ: Mapping[str, str]) -> Running:
    """Return what runs in DATA_DIR; raises MisconfiguredError if nothing does."""
    data_dir = Path(read(UpSettings, environ).data_dir).absolute()
    try:
        written = json.loads((data_dir / FILE).read_text(encoding="utf-8"))
        running = _running(written)
        alive = leftovers.lives(Mark(written["pid"], written["create_time"]))
    except (OSError, ValueError, TypeError, KeyError):
        alive = False
    if not alive:
        raise MisconfiguredError([f"nothing runs in {data_dir}: make up"])
    return running


def digest(path: str) -> str:
    """Return a file's digest; empty if it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


def changes(environ: Mapping[str, str]) -> list[str]:
    """Return a line if what runs in DATA_DIR knows another sites.yaml than the one that stands there now."""
    try:
        found = find(environ)
    except MisconfiguredError:
        return []
    if found.sites_digest in ("", digest(found.sites_file)):
        return []
    return [f"{found.sites_file} is not what it was when `oceanus up` began: stop that, and start it again"]


def with_files(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` with the files of what runs in DATA_DIR, where it names no others."""
    try:
        found = find(environ)
    except MisconfiguredError:
        return dict(environ)
    if _says(environ, "SITES_FILE"):
        return dict(environ)
    files = {"SITES_FILE": found.sites_file, "ALERTS_FILE": found.alerts_file}
    return {**files, **_set(environ)}


def names_warehouse(environ: Mapping[str, str]) -> bool:
    """Say whether the environment names a warehouse."""
    return _says(environ, "PROJECT_ID") or _says(environ, "BIGQUERY_EMULATOR_HOST")


def names_redis(environ: Mapping[str, str]) -> bool:
    """Say whether the environment names a Redis."""
    return _says(environ, "REDIS_PD_SERVICE_HOST")


def warehouse(environ: Mapping[str, str]) -> WarehouseSettings:
    """Return the warehouse that the environment names, else the one that `up` uses; raises MisconfiguredError."""
    if names_warehouse(environ):
        return read(WarehouseSettings, with_defaults(environ))
    return read(WarehouseSettings, {**find(environ).environ, **_set(environ)})


def redis(environ: Mapping[str, str]) -> RedisSettings:
    """Return the Redis that the environment names, else the one that `up` uses; raises MisconfiguredError."""
    if names_redis(environ):
        return read(RedisSettings, environ)
    return read(RedisSettings, {**_set(environ), **find(environ).environ})


def spools(environ: Mapping[str, str], declared: Container[str] | None = None) -> Spools:
    """Return the reading ends of the same Redis and its shards; raises MisconfiguredError."""
    return Spools.connected(shards(redis(environ), declared))


def arms_metrics(environ: Mapping[str, str]) -> str | None:
    """Return where arms tells its numbers; None for a target of the environment, which names no arms."""
    return None if names_redis(environ) else find(environ).arms_metrics


def sites_file(environ: Mapping[str, str]) -> str:
    """Return the sites.yaml that counts: the environment's, else that of what runs, else the sample."""
    return read(UpSettings, with_files(environ)).sites_file or str(SAMPLE)


def alerts_file(environ: Mapping[str, str]) -> str:
    """Return the alerts.yaml that counts, as for sites.yaml; raises MisconfiguredError if there is none."""
    try:
        file = read(UpSettings, environ).alerts_file or find(environ).alerts_file
    except MisconfiguredError:
        file = programs.alerts_file(read(UpSettings, environ))
    if not file:
        raise MisconfiguredError(["ALERTS_FILE is not set: path of alerts.yaml"])
    return file


def _running(written: Mapping[str, Any]) -> Running:
    store, bigquery = written["redis"], written["bigquery"]
    environ = {
        "REDIS_PD_SERVICE_HOST": store["host"],
        "REDIS_PD_SERVICE_PORT": str(store["port"]),
        "REDIS_SHARDS": store.get("shards", ""),
        "PROJECT_ID": bigquery["project"],
        "DATA_SET": written["dataset"],
        "BIGQUERY_EMULATOR_HOST": bigquery["rest"] or "",
        "BIGQUERY_STORAGE_EMULATOR_HOST": bigquery["grpc"] or "",
    }
    if store["own"]:  # ours has no password, whatever the environment keeps for another one
        environ |= {"REDIS_USER": "", "REDIS_PASSWORD": "", "REDIS_TLS": "0", "REDIS_CA": ""}
    return Running(
        url=written["url"],
        sites_file=written["sites_file"],
        alerts_file=written["alerts_file"],
        trust_token_file=Path(written["trust_token_file"]),
        arms_metrics=written["arms_metrics"],
        environ=environ,
        sites_digest=written.get("sites_digest", ""),
        processes={
            name: Process(written["children"][name], url)
            for name, url in written.get("health", {}).items()
            if name in written["children"]
        },
    )


def _says(environ: Mapping[str, str], name: str) -> bool:
    return bool(environ.get(name, "").strip())


def _set(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if value.strip()}
