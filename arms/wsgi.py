"""The composition root of a gunicorn worker: reads the settings, builds what it needs, and hands back the application.

gunicorn calls `create` in each worker after the fork, so that no connection is ever shared between processes.
"""

import asyncio
import logging
import os
import signal
import socket
from contextlib import suppress

from arms import spread
from arms.app import App, Lifespan, create_app
from arms.collector import Collector, Trust
from arms.devices import device
from arms.gather import Gather, NotStoredError
from arms.journal import Journal, JournalFullError
from arms.quota import Quota
from arms.spread import Part, Spread
from arms.store import Store
from oceanus import settings, sites, worker
from oceanus.errors import SpoolError
from oceanus.settings import ArmsSettings
from oceanus.shards import Shards, shards
from oceanus.spool import Pusher, connect_pusher, new_id

log = logging.getLogger(__name__)

COUNTED_SECONDS = 5.0
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


def _end_with(task: "asyncio.Task[None]") -> None:
    """Let a surprise in the background end this worker: its master starts another, and the journal stays."""
    if not task.cancelled() and task.exception():
        log.critical("ending, for another to start", exc_info=task.exception())
        os.kill(os.getpid(), signal.SIGTERM)


def create() -> App:
    """Return the application for the settings in the environment."""
    read = settings.read(ArmsSettings)
    worker.start_log(read.log)
    declared = sites.load(read.sites.file)
    chosen = shards(read.redis, declared)
    every = Spread({name: _part(read, chosen, name) for name in chosen.redis}, chosen.home)
    collector = Collector(
        declared,
        every,
        Quota(-(-read.failed_per_minute // read.workers)),
        Trust(proxies=read.trusted_proxies, token=read.trust_token, internal=read.internal),
        device,
    )

    background: list[asyncio.Task[None]] = []
    over = asyncio.Event()

    async def started() -> None:
        device("Mozilla/5.0")  # reads its rules now, not while the first visitor waits
        await asyncio.gather(*(look(name, part) for name, part in every.parts.items()))
        for path in spread.strange(read.journal_dir, list(chosen.redis)) if read.journal_dir else []:
            log.error("%s: its beacons wait for a Redis that REDIS_SHARDS does not name: %s", path, NAME_IT)

        for work in (tell_counted(), *map(mend, every.parts.values())):
            background.append(asyncio.create_task(work))
            background[-1].add_done_callback(_end_with)

    async def look(name: str, part: Part) -> None:
        at = f"{name}: " if name else ""
        try:
            await part.store.ready()
            await part.pusher.ping()
        except JournalFullError as exc:
            log.error("%sbeacons are answered 503 until this is mended: %s", at, exc)
        except SpoolError as exc:
            then = "go to the journal" if read.journal_dir else "are answered 503"
            log.error("%sbeacons %s until this is mended: %s", at, then, exc)

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
