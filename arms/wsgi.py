"""The composition root of a gunicorn worker: reads the settings, builds what it needs, and hands back the application.

gunicorn calls `create` in each worker after the fork, so that no connection is ever shared between processes.
"""

import asyncio
import logging
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path
from time import monotonic

from arms.app import App, Lifespan, create_app
from arms.caps import Caps
from arms.collector import Collector, Trust
from arms.devices import device
from arms.gather import Gather, NotStoredError
from arms.journal import Journal, JournalFullError
from arms.limits import Limits
from arms.quota import Quota
from arms.rates import Rates
from arms.store import Store
from oceanus import settings, sites, worker
from oceanus.errors import SpoolError
from oceanus.settings import ArmsSettings
from oceanus.sites import Sites
from oceanus.spool import Pusher, connect_pusher, new_id

log = logging.getLogger(__name__)

COUNTED_SECONDS = 5.0
CAP_SECONDS = 2.0  # a site's daily cap may be overshot by what others accept within it
MEND_SECONDS = 0.5


def _journal(read: ArmsSettings) -> Journal | None:
    """Return this process's journal, if a durable folder is configured for it."""
    if not read.journal_dir:
        return None
    return Journal(Path(read.journal_dir), new_id(socket.gethostname(), os.getpid()), read.journal_max_bytes)


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


def create() -> App:
    """Return the application for the settings in the environment."""
    read = settings.read(ArmsSettings)
    worker.start_log(read.log)
    pusher = Pusher(connect_pusher(read.redis, read.push_seconds), socket.gethostname(), os.getpid())
    store = Store(pusher, _journal(read), read.push_seconds)
    every = sites.load(read.sites.file)
    collector = Collector(
        every,
        Gather(store),
        Quota(-(-read.failed_per_minute // read.workers)),
        Trust(proxies=read.trusted_proxies, token=read.trust_token, internal=read.internal),
        device,
        limits=_limits(read, every),
    )

    background: list[asyncio.Task[None]] = []
    over = asyncio.Event()

    async def started() -> None:
        device("Mozilla/5.0")  # reads its rules now, not while the first visitor waits
        try:
            await store.ready()
            await pusher.ping()
        except JournalFullError as exc:
            log.error("beacons are answered 503 until this is mended: %s", exc)
        except SpoolError as exc:
            then = "go to the journal" if read.journal_dir else "are answered 503"
            log.error("beacons %s until this is mended: %s", then, exc)
        with suppress(SpoolError):  # it has been told
            await collector.learn_counts(pusher.accepted)

        for work in (tell_counted(), mend(), learn()):
            background.append(asyncio.create_task(work))
            background[-1].add_done_callback(_end_with)

    async def tell_counted() -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), COUNTED_SECONDS)
            with suppress(NotStoredError):  # it is tried again
                await collector.store_counted()

    async def mend() -> None:
        while not over.is_set():
            await store.mend()
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), MEND_SECONDS)

    async def learn() -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), CAP_SECONDS)
            with suppress(SpoolError):  # while Redis is away, what is known and what comes here counts
                await collector.learn_counts(pusher.accepted)

    async def stopping() -> None:
        over.set()
        await asyncio.gather(*background, return_exceptions=True)  # a surprise has been told by `_end_with`
        with suppress(NotStoredError):  # numbers of rejected beacons alone; gather has logged it
            await collector.store_counted(everything=True)
        await pusher.close()

    return create_app(
        collector,
        pusher,
        store,
        delay_limit_rate=read.delay_limit_rate,
        gaze_connections=read.gaze_connections,
        public_host=read.public_host,
        multiprocess=read.workers > 1,
        lifespan=Lifespan(started, stopping),
    )
