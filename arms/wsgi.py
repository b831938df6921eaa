"""The composition root of a gunicorn worker: reads the settings, builds what it needs, and hands back the application.

gunicorn calls `create` in each worker after the fork, so that no connection is ever shared between processes.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
from contextlib import suppress
from time import monotonic

from arms import metrics, spread
from arms.app import App, Lifespan, create_app
from arms.caps import Caps
from arms.collector import Collector, Trust
from arms.devices import device
from arms.gather import Gather, NotStoredError
from arms.journal import Journal, JournalFullError
from arms.limits import Limits
from arms.quota import Quota
from arms.rates import Rates
from arms.spread import Part, Spread
from arms.store import Store
from oceanus import settings, sites, worker
from oceanus.errors import SpoolDeniedError, SpoolError
from oceanus.settings import ArmsSettings
from oceanus.shards import Shards, shards
from oceanus.sites import Sites
from oceanus.spool import Pusher, connect_pusher, new_id

log = logging.getLogger(__name__)

COUNTED_SECONDS = 5.0
CAP_SECONDS = 2.0  # a site's daily cap may be overshot by what others accept within it
MEND_SECONDS = 0.5
NAME_IT = "add its address, or: python -m arms --push-journal FOLDER"


def _journal(read: ArmsSettings, name: str) -> Journal | None:
    """Return this process's journal for a Redis, if a durable folder is configured."""
    if not read.journal_dir:
        return None
    folder = spread.folder(read.journal_dir, name)
    return Journal(folder, new_id(socket.gethostname(), os.getpid()), read.journal_max_bytes)


def _part(read: ArmsSettings, chosen: Shards, name: str) -> Part:
    """Return all that arms has for one Redis."""
    redis = connect_pusher(chosen.redis[name], read.push_seconds)
    pusher = Pusher(redis, socket.gethostname(), os.getpid())
    store = Store(pusher, _journal(read, name), read.push_seconds, name)
    return Part(pusher, store, Gather(store))


def _limits(read: ArmsSettings, every: Sites) -> Limits | None:
    """Return the limits, if anything is limited."""
    caps = {site.name: site.daily_cap for site in every.values() if site.daily_cap}
    rates = Rates(read.rate_per_address, read.rate_burst) if read.rate_per_address else None
    return Limits(rates, Caps(caps), monotonic) if caps or rates is not None else None


def _end_with(task: "asyncio.Task[None]") -> None:
    """Let a surprise in the background end this worker: its master starts another, and the journal stays."""
    if not task.cancelled() and task.exception():
        log.critical("ending, for another to start", exc_info=task.exception())
        os.kill(os.getpid(), signal.SIGTERM)


async def _look(read: ArmsSettings, name: str, part: Part) -> None:
    """Say in the log if a Redis does not take beacons, and what becomes of them."""
    at = f"{name}: " if name else ""
    try:
        await part.store.ready()
        await part.pusher.ping()
    except JournalFullError as exc:
        log.error("%sbeacons are answered 503 until this is mended: %s", at, exc)
    except SpoolError as exc:
        then = "go to the journal" if read.journal_dir else "are answered 503"
        log.error("%sbeacons %s until this is mended: %s", at, then, exc)


def create() -> App:
    """Return the application for the settings in the environment."""
    read = settings.read(ArmsSettings)
    worker.begin("arms", read.log)
    declared = sites.load(read.sites.file)
    metrics.begin(declared)
    chosen = shards(read.redis, declared)
    every = Spread({name: _part(read, chosen, name) for name in chosen.redis}, chosen.home)
    collector = Collector(
        declared,
        every.gather,
        Quota(-(-read.failed_per_minute // read.workers)),
        Trust(proxies=read.trusted_proxies, token=read.trust_token, internal=read.internal),
        device,
        limits=_limits(read, declared),
    )

    background: list[asyncio.Task[None]] = []
    over = asyncio.Event()

    async def started() -> None:
        device("Mozilla/5.0")  # reads its rules now, not while the first visitor waits
        await asyncio.gather(*(_look(read, name, part) for name, part in every.parts.items()))
        for path in spread.strange(read.journal_dir, list(chosen.redis)) if read.journal_dir else []:
            log.error("%s: its beacons wait for a Redis that REDIS_SHARDS does not name: %s", path, NAME_IT)
        with suppress(SpoolError):  # it has been told
            await collector.learn_counts(every.accepted)
            await collector.learn_last(every.last_ms)

        gc.collect()
        gc.freeze()  # what is here stays: a collection that walks through all of it takes 50 ms
        for work in (tell_counted(), learn(), *map(mend, every.parts.values())):
            background.append(asyncio.create_task(work))
            background[-1].add_done_callback(_end_with)

    async def tell_counted() -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), COUNTED_SECONDS)
            with suppress(NotStoredError):  # it is tried again
                await collector.store_counted()

    async def mend(part: Part) -> None:
        while not over.is_set():
            await part.store.mend()
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), MEND_SECONDS)

    async def learn() -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), CAP_SECONDS)
            try:
                await collector.learn_counts(every.accepted)
            except SpoolDeniedError as exc:
                log.error("the caps of sites count this process alone: %s", exc)
            except SpoolError:
                continue  # while Redis is away, what is known and what comes here counts

    async def stopping() -> None:
        over.set()
        await asyncio.gather(*background, return_exceptions=True)  # a surprise has been told by `_end_with`
        with suppress(NotStoredError):  # numbers of rejected beacons alone; gather has logged it
            await collector.store_counted(everything=True)
        for part in every.parts.values():
            await part.pusher.close()

    return create_app(
        collector,
        every,
        every,
        delay_limit_rate=read.delay_limit_rate,
        gaze_connections=read.gaze_connections,
        public_host=read.public_host,
        multiprocess=read.workers > 1,
        lifespan=Lifespan(started, stopping),
    )
