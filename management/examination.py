"""The examination: asks a target what the doctor judges. Changes nothing, and goes on after each trouble."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

import httpx

from management import check, doctor, parts, running, status
from management.doctor import Finding, Folder, RedisFacts
from management.programs import with_defaults
from oceanus import sites, warehouse
from oceanus.errors import MisconfiguredError, SpoolError, SpoolRefusedError, WarehouseError
from oceanus.settings import ArmsSettings, RedisSettings, WarehouseSettings, read
from oceanus.shards import shards
from oceanus.sites import Site
from oceanus.spool import NEEDED, Client, connect, text, translated
from oceanus.tables import Naming
from oceanus.warehouse import Catalog, Clients
from oceanus.warehouse.clients import check as check_warehouse
from oceanus.warehouse.permissions import ADDRESS, Permissions
from table_manager import plan

_REMEDIES = {"Redis": "check REDIS_PD_SERVICE_HOST, REDIS_PD_SERVICE_PORT, REDIS_PASSWORD and REDIS_TLS"}
HEALTH_SECONDS = 3.0
USES_WAREHOUSE = ("r2bq", "table_manager", "revelation")


def examine(environ: Mapping[str, str], processes: Iterable[str]) -> Iterator[Finding]:
    """Yield what is found about a target, for some of the processes."""
    chosen = tuple(processes)
    mistakes = check.mistakes(environ)
    yield from doctor.of("settings", mistakes)
    if not mistakes:
        yield Finding(about="settings", state=doctor.OK, sentence="sites.yaml, alerts.yaml and variables are in order")
    for line in [*check.warnings(environ), *running.changes(environ)]:
        yield Finding(about="settings", state=doctor.WARNING, sentence=line)
    if not running.names_redis(environ):
        yield from _processes(environ, chosen)
    of_redis = _asked("Redis", lambda: _every_redis(running.redis(environ)))
    yield from of_redis
    if "r2bq" in chosen and doctor.is_well(of_redis):
        yield from _asked("Redis", lambda: _backlog(environ))
    if "arms" in chosen and running.names_redis(environ):
        yield from _asked("journal", lambda: _journal(environ))
    if set(chosen) & set(USES_WAREHOUSE):
        declared = _declared(environ)
        yield from _asked("BigQuery", lambda: _warehouse(running.warehouse(environ), chosen, declared))


def _asked(about: str, ask: Callable[[], Iterable[Finding]]) -> list[Finding]:
    try:
        return list(ask())
    except MisconfiguredError as exc:
        return doctor.of(about, exc.mistakes)
    except (SpoolError, WarehouseError) as exc:
        remedy = _REMEDIES.get(about, "")
        return [Finding(about=about, state=doctor.WRONG, sentence=f"does not answer: {exc}", remedy=remedy)]


def _declared(environ: Mapping[str, str]) -> list[Site]:
    try:
        return list(sites.load(running.sites_file(environ)).values())
    except MisconfiguredError:
        return []  # told already


def _every_redis(settings: RedisSettings) -> Iterator[Finding]:
    """Yield what is found about each Redis, those of REDIS_SHARDS by their address; one that is away hides no other."""
    for name, one in shards(settings).redis.items():
        for found in _asked("Redis", partial(redis, one)):
            yield replace(found, about=f"{found.about} {name}".strip())


def redis(settings: RedisSettings) -> list[Finding]:
    """Return what is found about one Redis; raises SpoolError where it does not answer."""
    client = connect(settings)
    with translated():
        client.ping()
    try:
        with translated():
            told: Mapping[str, Any] = client.info()
            seconds, micros = client.time()
            ahead_seconds = seconds + micros / 1e6 - time.time()
    except SpoolRefusedError as exc:
        return [doctor.closed(str(exc))]
    config, refusal = _config(client)
    facts = RedisFacts(
        version=str(told.get("redis_version", "?")),
        role=str(told.get("role", "?")),
        config=config,
        refusal=refusal,
        write_status=str(told.get("aof_last_write_status", "ok")),
        maxmemory=int(told.get("maxmemory", 0)),
        used_bytes=int(told.get("used_memory", 0)),
        machine_bytes=int(told.get("total_system_memory", 0)),
        ahead_seconds=ahead_seconds,
    )
    return doctor.redis(facts, NEEDED, parts.REDIS_AT_LEAST)


def _processes(environ: Mapping[str, str], chosen: tuple[str, ...]) -> Iterator[Finding]:
    """Yield, for each process that `oceanus up` runs, whether it answers: one that is stopped or hangs does not."""
    try:
        found = running.find(environ)
    except MisconfiguredError:
        return  # told where Redis is looked for
    for name, process in found.processes.items():
        if name not in chosen:
            continue
        try:
            answer = httpx.get(process.health, timeout=HEALTH_SECONDS, trust_env=False)
            trouble = "" if answer.is_success else f"answers {answer.status_code}"
        except httpx.HTTPError as exc:
            trouble = f"does not answer ({type(exc).__name__})"
        yield doctor.process(name, process.pid, trouble)


def _backlog(environ: Mapping[str, str]) -> list[Finding]:
    spools = running.spools(environ)
    try:
        looks = {name: spools.look(name) for name in sorted(spools.sites())}
    except SpoolRefusedError as exc:
        return [doctor.closed(str(exc))]
    now_us = time.time_ns() // 1000
    return [doctor.backlog({name: status.site_status(look, now_us) for name, look in looks.items()})]


def _config(client: Client) -> tuple[Mapping[str, str] | None, str]:
    """Return what CONFIG GET says, as arms asks it; None and why, where it is refused."""
    try:
        with translated():
            found: Mapping[bytes, bytes] = cast(Any, client.config_get(*NEEDED))
    except SpoolRefusedError as exc:
        return None, str(exc)
    return {text(name): text(value) for name, value in found.items()}, ""


def _journal(environ: Mapping[str, str]) -> list[Finding]:
    chosen = read(ArmsSettings, with_defaults(environ))
    folder = _folder(chosen.journal_dir) if chosen.journal_dir else None
    return doctor.journal(folder, chosen.journal_max_bytes)


def _folder(path: str) -> Folder:
    """Look at a folder, or at where arms would make it."""
    there = path
    while not os.path.exists(there) and os.path.dirname(there) != there:
        there = os.path.dirname(os.path.abspath(there))
    trouble = ""
    if not os.path.isdir(there):
        trouble = f"{there} is no folder"
    elif not os.access(there, os.W_OK | os.X_OK):
        trouble = f"{there} cannot be written to by this user ({os.getuid()})"
    disk = os.statvfs(there)
    return Folder(path=path, trouble=trouble, free_bytes=disk.f_bavail * disk.f_frsize)


def _warehouse(settings: WarehouseSettings, processes: tuple[str, ...], declared: list[Site]) -> list[Finding]:
    clients = warehouse.connect(settings)
    check_warehouse(clients, settings.dataset)
    naming = Naming(settings.dataset, settings.table_prefix)
    sentence = f"project {settings.project}, dataset {settings.dataset} in {settings.location}: answers"
    found = [Finding(about="BigQuery", state=doctor.OK, sentence=sentence)]
    if settings.emulator:
        sentence = "a local BigQuery knows none"
        found += [Finding(about=about, state=doctor.OK, sentence=sentence) for about in ("permissions", "quotas")]
    else:
        found += _asked("permissions", lambda: permissions(clients, naming, processes, declared))
        found.append(doctor.connections(declared, settings.location))
    catalog, wanted = Catalog(clients), plan.wanted(declared, naming, datetime.now(UTC))
    return found + _asked("tables", lambda: doctor.tables(plan.against(one, catalog) for one in wanted))


def permissions(
    clients: Clients, naming: Naming, processes: tuple[str, ...], declared: list[Site], address: str = ADDRESS
) -> list[Finding]:
    """Return what the credentials may not do that these processes need; raises WarehouseError."""
    asked = Permissions(clients, address)
    wanted = doctor.needed(processes, declared)
    on_project = asked.on_project(wanted)
    today = datetime.now(UTC)
    paths = [naming.failed.path, *(table.path for site in declared for table in naming.tables(site, today, None))]
    left = sorted(wanted - on_project - set(doctor.PROJECT_ONLY))
    on_tables = asked.on_tables(left, paths) if left else set()
    return doctor.permissions(wanted, on_project, on_tables)
