"""`python -m r2bq`: read the settings, build the drains, and step them until told to stop."""

import os
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from prometheus_client import REGISTRY

from oceanus import settings, sites, spool, warehouse, worker
from oceanus.errors import MisconfiguredError
from oceanus.settings import R2bqSettings
from oceanus.shards import shards
from oceanus.spool import Spool
from oceanus.tables import Naming
from oceanus.warehouse import Catalog, Queries, Writer
from oceanus.warehouse.clients import check
from oceanus.worker import Stop
from r2bq import metrics
from r2bq.crew import Crew
from r2bq.drain import Drain
from r2bq.metrics import Claims
from r2bq.scales import SECONDS, Scales
from r2bq.source import Source
from r2bq.standing import Warehouse

IDLE_SECONDS = 0.05
STUCK_SECONDS = 60.0
ELSEWHERE_SECONDS = 1.0  # that a resend asks another Redis; it waits, if that one is away


def main() -> None:
    """Run until SIGTERM."""
    try:
        read = settings.read(R2bqSettings)
        worker.begin("r2bq", read.log)
        crews = build(read)
        worker.serve_health(read.port, read.internal, lambda: all(map(_turns, crews)))
    except MisconfiguredError as exc:
        worker.refuse_to_start("r2bq", exc)
    REGISTRY.register(Claims(drain for crew in crews for drain in crew.drains))
    stop = Stop().listen()
    weigh(read, stop)
    work(crews, stop, read.grace_seconds)
    os._exit(0)  # a write that hangs must not hold the stop; what it wrote is fenced by whoever adopts it


def weigh(read: R2bqSettings, stop: Stop) -> None:
    """Weigh every Redis now and then in the background, until `stop`."""
    scales = Scales({name: Spool(spool.connect(one)) for name, one in shards(read.redis).redis.items()})
    threading.Thread(target=worker.loop, args=(scales.step, stop, SECONDS), name="scales", daemon=True).start()


def work(crews: Sequence[Crew], stop: Stop, grace_seconds: float) -> None:
    """Let every crew work until `stop`, each in a thread of its own: a Redis that is away delays no other's sites.

    What ends one crew by surprise ends all, and is raised.
    """

    def keep(crew: Crew) -> None:
        try:
            worker.loop(crew.step, stop, IDLE_SECONDS)
        finally:
            stop.set()
        crew.stop(grace_seconds)

    with ThreadPoolExecutor(len(crews), "crew") as pool:
        for ended in [pool.submit(keep, crew) for crew in crews]:
            ended.result()


def build(read: R2bqSettings) -> list[Crew]:
    """Return a crew for each Redis, which drains every site there; raises MisconfiguredError."""
    declared = sites.load(read.sites.file)
    chosen = shards(read.redis, declared)
    metrics.begin(declared)
    clients = warehouse.connect(read.warehouse)
    check(clients, read.warehouse.dataset)
    naming = Naming(read.warehouse.dataset, read.warehouse.table_prefix)
    parts = Warehouse(Catalog(clients), Queries(clients, read.warehouse.dataset), Writer(clients))
    patience = ThreadPoolExecutor(read.max_open_appends, "append")
    new_writer = partial(spool.new_id, socket.gethostname(), os.getpid())

    def crew(name: str) -> Crew:
        redis = Spool(spool.connect(chosen.redis[name]))
        others = [Spool(spool.connect(one, ELSEWHERE_SECONDS)) for at, one in chosen.redis.items() if at != name]
        drains = [
            Drain(
                Source(site, source, naming),
                redis,
                parts,
                new_writer=new_writer,
                patience=patience,
                max_bytes=read.append_bytes,
                verify=read.verify,
                elsewhere=others,
            )
            for site in declared.values()
            for source in spool.LISTS
        ]
        return Crew(drains, redis, read.max_open_appends, name=name)

    return [crew(name) for name in chosen.redis]


def _turns(crew: Crew) -> bool:
    return time.monotonic() - crew.turned_at < STUCK_SECONDS


if __name__ == "__main__":
    main()
