"""arms as its tests use it: the real application, with a spool that keeps what it is given."""

from collections.abc import Callable, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import falcon.testing
import orjson
import pytest

from arms import files
from arms.app import create_app
from arms.caps import Caps
from arms.collector import Collector, Trust
from arms.devices import device
from arms.gather import Gather
from arms.limits import Limits
from arms.quota import Quota
from arms.rates import Rates
from oceanus import sites
from oceanus.errors import SpoolError, SpoolUnclearError
from oceanus.pushes import Push
from tests.arms.serving import GOOD, serve

__all__ = ["GOOD", "serve"]
TOKEN = "a-token"


class KeptSpool:
    """A spool that keeps every push, or fails as it is told."""

    def __init__(self) -> None:
        self.pushes: list[Push] = []
        self.failure: SpoolError | None = None
        self.counted: dict[str, int] = {}
        self.backlog: dict[str, int] = {}

    async def keep(self, pushes: Sequence[Push]) -> list[str | None]:
        if self.failure:
            return [str(self.failure)] * len(pushes)
        self.pushes += pushes
        return [None] * len(pushes)

    async def ready(self) -> None:
        await self.ping()

    async def ping(self) -> None:
        if self.failure:
            raise self.failure

    async def lengths(self, names: Sequence[str]) -> list[int]:
        await self.ping()
        return [self.backlog.get(name, 0) for name in names]

    async def accepted(self, names: Sequence[str], day: str) -> list[int]:
        await self.ping()
        return [self.counted.get(name, 0) for name in names]

    def records(self, site: str, source: str = "queue") -> list[dict[str, Any]]:
        """Return what a list of a site holds, oldest first."""
        pushes = [push for push in self.pushes if (push.site, push.source) == (site, source)]
        return [orjson.loads(text) for push in pushes for text in push.records]

    def fall_silent(self) -> None:
        """Answer nothing from now on."""
        self.failure = SpoolUnclearError("Redis gave no answer")


class LoopbackClient(falcon.testing.TestClient):
    """A client on this machine."""

    def simulate_request(self, *args: Any, **options: Any) -> falcon.testing.Result:
        return super().simulate_request(*args, **{"remote_addr": "127.0.0.1"} | options)


class Arms:
    """A collector with its spool and a client; `get` and `post` send what a browser would."""

    def __init__(
        self,
        text: str,
        *,
        proxies: int = 0,
        limit: int = 100,
        gaze: int = 10,
        rates: Rates | None = None,
        static: Path = files.STATIC,
    ):
        self.spool = KeptSpool()
        self.now_us = 1_795_000_000_000_000
        self.seconds = 0.0
        trust = Trust(proxies=proxies, token=TOKEN, internal=(ip_network("192.168.0.0/16"),))
        gather = Gather(self.spool)
        every = sites.parse(text)
        caps = Caps({site.name: site.daily_cap for site in every.values() if site.daily_cap})
        limits = Limits(rates, caps, lambda: self.seconds) if rates is not None or caps.sites else None
        self.collector = Collector(every, lambda _: gather, Quota(limit), trust, device, lambda: self.now_us, limits)
        app = create_app(self.collector, self.spool, self.spool, gaze_connections=gaze, static=static)
        self.client = LoopbackClient(app)

    def get(self, path: str, query: str = "", **headers: str) -> falcon.testing.Result:
        """Send a GET with a raw query string; `x_oceanus_time="..."` is a header."""
        return self.client.simulate_get(path, query_string=query, headers=named(headers))

    def post(self, path: str, body: bytes | str, query: str = "", **headers: str) -> falcon.testing.Result:
        """Send a POST with a raw body."""
        return self.client.simulate_post(path, query_string=query, body=body, headers=named(headers))

    def swallow(self, site: str = "bizocean", headers: dict[str, str] | None = None, **changes: str | None) -> Any:
        """Send a good beacon with some parameters changed, or left out (None)."""
        parameters = {name: value for name, value in (GOOD | changes).items() if value is not None}
        return self.client.simulate_get(f"/swallow/{site}", params=parameters, headers=headers)


def named(headers: dict[str, str]) -> dict[str, str]:
    """Return headers by the names that HTTP gives them."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


def sample(**changes: str) -> str:
    """Return the sample file with texts replaced: `bizocean="..."` replaces what that site says behind its name."""
    lines = sites.SAMPLE.read_text(encoding="utf-8").splitlines()
    for site, body in changes.items():
        place = next(i for i, line in enumerate(lines) if line.startswith(f"  {site}: {{"))
        lines[place] = f"  {site}: {body}"
    return "\n".join(lines)


@pytest.fixture
def make_arms() -> Callable[..., Arms]:
    """Make a collector of the sample sites, some of them changed."""

    def make(
        *,
        proxies: int = 0,
        limit: int = 100,
        gaze: int = 10,
        rates: Rates | None = None,
        static: Path = files.STATIC,
        **changes: str,
    ) -> Arms:
        return Arms(sample(**changes), proxies=proxies, limit=limit, gaze=gaze, rates=rates, static=static)

    return make


@pytest.fixture
def arms(make_arms: Callable[..., Arms]) -> Arms:
    """A collector of the sample sites."""
    return make_arms()
