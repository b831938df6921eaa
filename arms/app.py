"""The application: every route of arms in one place."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import falcon.asgi

from arms import files
from arms.arrival import Request
from arms.beacons import Gaze, Pierce, Pirate, Swallow
from arms.collector import Collector
from arms.lane import Lane
from arms.probes import Backlog, Balancer, Health, Icon, Lengths, Metrics, Ready, Robots, Root

# What an endpoint of a site's own is, by the site's method.
TRACKED: dict[str, type[Swallow] | type[Pirate]] = {"swallow": Swallow, "pirate": Pirate}


class App(falcon.asgi.App[Request, falcon.asgi.Response]):
    """Falcon's application, with the lane beside it by which arms.connection takes plain beacons."""

    def __init__(self, lane: Lane, lifespan: "Lifespan | None") -> None:
        super().__init__(request_type=Request, middleware=lifespan)
        self.lane = lane


class Lifespan:
    """What happens once before the first request and once after the last; nothing durable depends on the second."""

    def __init__(self, started: Callable[[], Awaitable[None]], stopping: Callable[[], Awaitable[None]]) -> None:
        self._started = started
        self._stopping = stopping

    async def process_startup(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Say whether Redis is there."""
        await self._started()

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Store what was only counted, and close the connection."""
        await self._stopping()


def create_app(
    collector: Collector,
    pusher: Lengths,
    store: Ready,
    *,
    delay_limit_rate: float = 2,
    gaze_connections: int = 1000,
    public_host: str = "",
    static: Path = files.STATIC,
    multiprocess: bool = False,
    lifespan: Lifespan | None = None,
) -> App:
    """Return the collector as an ASGI application."""
    app = App(Lane(collector), lifespan)
    app.req_options.strip_url_path_trailing_slash = True
    swallow, gaze = Swallow(collector), Gaze(collector, gaze_connections)
    app.add_route("/swallow", swallow)
    app.add_route("/swallow/{site}", swallow)
    app.add_route("/gaze/{site}", gaze)
    app.add_route("/pierce/{site}", Pierce(collector))
    app.add_route("/pirate/{site}", Pirate(collector))
    app.add_route("/", Root())
    app.add_route("/hc", Health())
    app.add_route("/lb", Balancer(collector, store))
    app.add_route("/rstatus", Backlog(collector, pusher, delay_limit_rate))
    app.add_route("/metrics", Metrics(collector, multiprocess))
    found = files.read(static)
    app.add_route("/static/{kind}/{name}", files.Static(found, collector.sites, public_host))
    app.add_route("/robots.txt", Robots())
    app.add_route("/favicon.ico", Icon())
    for path, file in files.elsewhere(collector.sites, found["js"]).items():
        app.add_route(path, files.Served(file))
    for site in collector.sites.values():
        if site.tracker.endpoint:
            app.add_route(site.tracker.endpoint, TRACKED[site.method](collector, site.name))
    return app
