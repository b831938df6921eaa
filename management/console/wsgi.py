"""The composition root of the console: reads the settings, builds what it needs, and hands back the application."""

import logging
import os
import signal

from management import running, status
from management.console.app import App, create_app
from management.console.desk import Arms, Desk
from management.console.door import Door
from management.console.history import History
from management.console.stream import Stream
from management.console.watch import Watch
from management.failed_table import FailedTable
from management.status import Journal
from oceanus import settings, sites, warehouse, worker
from oceanus.auditor import MAX_BYTES, Auditor
from oceanus.errors import MisconfiguredError, WarehouseUnclearError
from oceanus.settings import ConsoleSettings, UpSettings
from oceanus.tables import Naming
from oceanus.warehouse.clients import why_away

ASK_SECONDS = 5.0


def create() -> App:
    """Return the application for the settings in the environment."""
    environ = settings.environment()
    read = settings.read(ConsoleSettings, environ)
    worker.begin("console", read.log)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would tell of each look at arms
    file = running.sites_file(environ)
    declared = sites.load(file)
    chosen = running.warehouse(environ)
    clients, naming = warehouse.connect(chosen), Naming(chosen.dataset, chosen.table_prefix)
    spools = running.spools(environ, declared)
    queries = warehouse.Queries(clients, chosen.dataset)
    arms = _arms(read, environ)

    def journal() -> Journal | None:
        return status.ask_arms(f"{arms.url.rstrip('/')}/metrics" if arms.url else None)

    def check_warehouse() -> None:
        away = why_away(clients, chosen.dataset, ASK_SECONDS)
        if away:
            raise WarehouseUnclearError(
                f"BigQuery is away, and what is accepted waits in Redis: try again later: {away}"
            )

    stream = Stream()
    watch = Watch(spools, declared, stream, History(), journal, _end)
    auditor = Auditor(spools, queries, warehouse.Writer(clients), naming, MAX_BYTES)
    table = FailedTable(spools, queries, naming, MAX_BYTES)
    desk = Desk(declared, table, auditor, stream, arms, journal, check_warehouse, file)
    about = {
        "sites": [{"name": site.name, "method": site.method} for site in declared.values()],
        "project": chosen.project,
        "dataset": chosen.dataset,
        "is_local": bool(chosen.emulator),
    }
    return create_app(watch, desk, Door(read.token, read.hosts), about)


def _end() -> None:
    """End this worker: its master starts another."""
    os.kill(os.getpid(), signal.SIGTERM)


def _arms(read: ConsoleSettings, environ: dict[str, str]) -> Arms:
    """Return where arms is: as the settings say, else where `oceanus up` runs it, else nowhere."""
    given = settings.read(UpSettings, environ).trust_token
    if read.arms_url or running.names_redis(environ):
        return Arms(url=read.arms_url, token=given)
    try:
        found = running.find(environ)
    except MisconfiguredError:
        return Arms(url="", token=given)
    return Arms(url=found.url, token=given or found.trust_token_file.read_text(encoding="utf-8").strip())
