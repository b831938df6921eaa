"""The routes that are no beacons: probes, backlog, metrics, robots and the icon."""

import asyncio
import re
from collections.abc import Sequence
from typing import Protocol

import falcon.asgi
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from arms import answers
from arms.arrival import Request
from arms.collector import Collector
from arms.journal import JournalFullError
from oceanus.errors import SpoolError

Response = falcon.asgi.Response
WELCOME = """oceanus is running. Send a beacon:

    /swallow/SITE?oid=2&evt=pageview&sid=86895a04e5a59600&url=https%3A%2F%2Fshop.example%2F

and look for its row: oceanus sql "SELECT * FROM SITE"
"""


class Ready(Protocol):
    """What makes beacons durable."""

    async def ready(self) -> None:
        """Raise SpoolError or JournalFullError unless a beacon could be made durable now."""


class Lengths(Protocol):
    """What knows how much waits."""

    async def lengths(self, sites: Sequence[str]) -> list[int]:
        """Return the length of each site's queue; raises SpoolError."""


class Probe:
    """A route that answers a HEAD as it answers a GET, without the body."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer."""
        raise NotImplementedError

    async def on_head(self, req: Request, resp: Response) -> None:
        """Answer the same, without the body."""
        await self.on_get(req, resp)


class Health(Probe):
    """/hc: 200 while the loop turns."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer ok."""
        answers.words(resp, "ok\n")


class Balancer(Probe):
    """/lb: 200 while a beacon can be made durable, else 503, and why for internal addresses only."""

    def __init__(self, collector: Collector, store: Ready) -> None:
        self._collector = collector
        self._store = store

    async def on_get(self, req: Request, resp: Response) -> None:
        """Ask Redis and the journal, and answer for them."""
        try:
            await self._store.ready()
        except (SpoolError, JournalFullError) as exc:
            answers.unavailable(resp, f"{exc}\n" if self._collector.is_internal(req) else "not ready\n")
        else:
            answers.words(resp, "ok\n")


class Backlog(Probe):
    """/rstatus: do the sites' queues hold more than a few batches? For people and scripts; never a probe."""

    def __init__(self, collector: Collector, pusher: Lengths, rate: float) -> None:
        self._collector = collector
        self._pusher = pusher
        self._limit = sum(site.batch.rows for site in collector.sites.values()) * rate

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer ok, or 503 with the lists."""
        names = list(self._collector.sites)
        try:
            lengths = dict(zip(names, await self._pusher.lengths(names), strict=True))
        except SpoolError as exc:
            answers.unavailable(resp, f"{exc}\n" if self._collector.is_internal(req) else "not known\n")
            return
        total = sum(lengths.values())
        lists = "".join(f"{name}: {length}\n" for name, length in lengths.items())
        lists += f"total: {total}\nlimit: {self._limit:g}\n"
        asked = re.search(rb"(^|&)debug=", req.raw_query) is not None and self._collector.is_internal(req)
        answers.words(resp, lists if asked or total > self._limit else "ok\n")
        resp.status = 503 if total > self._limit else 200


class Metrics(Probe):
    """/metrics, for internal addresses only; with several workers, of all of them."""

    def __init__(self, collector: Collector, multiprocess: bool) -> None:
        self._collector = collector
        self._multiprocess = multiprocess

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer in Prometheus' text format."""
        if not self._collector.is_internal(req):
            answers.words(resp, "internal addresses only\n")
            resp.status = 403
            return
        registry = REGISTRY
        if self._multiprocess:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        resp.data = await asyncio.to_thread(
            generate_latest, registry
        )  # of many sites it takes longer than a beacon may wait
        resp.content_type = CONTENT_TYPE_LATEST


class Root(Probe):
    """/: a word to the person who opens the address that `oceanus up` prints."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Say what this is, and how to send a beacon."""
        answers.words(resp, WELCOME)


class Robots(Probe):
    """/robots.txt: nothing here is for search engines."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer the file."""
        resp.text = "User-agent: *\nDisallow: /\n"
        resp.content_type = "text/plain; charset=utf-8"


class Icon(Probe):
    """/favicon.ico, so that a person who looks at the host causes no error."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer the GIF, cached for a day."""
        resp.data = answers.GIF
        resp.content_type = "image/gif"
        resp.set_header("Cache-Control", "public, max-age=86400")
