"""The composition root of a gunicorn worker: reads the settings, builds what it needs, and hands back the application.

gunicorn calls `create` in each worker after the fork, so that no connection is ever shared between processes.
"""

import asyncio
import logging
import os
import socket
from contextlib import suppress

from arms.app import App, Lifespan, create_app
from arms.collector import Collector, Trust
from arms.devices import device
from arms.gather import Gather, NotStoredError
from arms.quota import Quota
from oceanus import settings, sites, worker
from oceanus.errors import SpoolError
from oceanus.settings import ArmsSettings
from oceanus.spool import Pusher, connect_pusher

log = logging.getLogger(__name__)

COUNTED_SECONDS = 5.0


def create() -> App:
    """Return the application for the settings in the environment."""
    read = settings.read(ArmsSettings)
    worker.start_log(read.log)
    pusher = Pusher(connect_pusher(read.redis, read.push_seconds), socket.gethostname(), os.getpid())
    collector = Collector(
        sites.load(read.sites.file),
        Gather(pusher, read.push_seconds),
        Quota(-(-read.failed_per_minute // read.workers)),
        Trust(proxies=read.trusted_proxies, token=read.trust_token, internal=read.internal),
        device,
    )

    background: list[asyncio.Task[None]] = []
    over = asyncio.Event()

    async def started() -> None:
        device("Mozilla/5.0")  # reads its rules now, not while the first visitor waits
        try:
            await pusher.ping()
        except SpoolError as exc:
            log.error("beacons are answered 503 until this is mended: %s", exc)

        background.append(asyncio.create_task(tell_counted()))

    async def tell_counted() -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), COUNTED_SECONDS)
            with suppress(NotStoredError):  # it is tried again
                await collector.store_counted()

    async def stopping() -> None:
        over.set()
        await asyncio.gather(*background)
        with suppress(NotStoredError):  # numbers of rejected beacons alone; gather has logged it
            await collector.store_counted(everything=True)
        await pusher.close()

    return create_app(
        collector,
        pusher,
        delay_limit_rate=read.delay_limit_rate,
        gaze_connections=read.gaze_connections,
        public_host=read.public_host,
        multiprocess=read.workers > 1,
        lifespan=Lifespan(started, stopping),
    )
