"""`python -m r2bq`: read the settings, build the drains, and step them until told to stop."""

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from oceanus import settings, sites, spool, warehouse, worker
from oceanus.errors import MisconfiguredError
from oceanus.settings import R2bqSettings
from oceanus.spool import Spool
from oceanus.tables import Naming
from oceanus.warehouse import Catalog, Queries, Writer
from oceanus.warehouse.clients import check
from oceanus.worker import Stop
from r2bq.crew import Crew
from r2bq.drain import Drain
from r2bq.source import Source
from r2bq.standing import Warehouse

IDLE_SECONDS = 0.05
STUCK_SECONDS = 60.0


def main() -> None:
    """Run until SIGTERM."""
    try:
        read = settings.read(R2bqSettings)
        worker.start_log(read.log)
        crew = build(read)
        worker.serve_health(read.port, read.internal, lambda: time.monotonic() - crew.turned_at < STUCK_SECONDS)
    except MisconfiguredError as exc:
        worker.refuse_to_start("r2bq", exc)
    stop = Stop().listen()
    worker.loop(crew.step, stop, IDLE_SECONDS)
    crew.stop(read.grace_seconds)
    os._exit(0)  # a write that hangs must not hold the stop; what it wrote is fenced by whoever adopts it


def build(read: R2bqSettings) -> Crew:
    """Return the crew for these settings; raises MisconfiguredError."""
    declared = sites.load(read.sites.file)
    clients = warehouse.connect(read.warehouse)
    check(clients, read.warehouse.dataset)
    redis = Spool(spool.connect(read.redis))
    naming = Naming(read.warehouse.dataset, read.warehouse.table_prefix)
    parts = Warehouse(Catalog(clients), Queries(clients, read.warehouse.dataset), Writer(clients))
    patience = ThreadPoolExecutor(read.max_open_appends, "append")
    new_writer = partial(spool.new_id, socket.gethostname(), os.getpid())
    drains = [
        Drain(
            Source(site, source, naming),
            redis,
            parts,
            new_writer=new_writer,
            patience=patience,
            max_bytes=read.max_append_bytes,
            verify=read.verify,
        )
        for site in declared.values()
        for source in spool.LISTS
    ]
    return Crew(drains, redis, read.max_open_appends)


if __name__ == "__main__":
    main()
