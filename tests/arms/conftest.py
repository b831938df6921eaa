"""arms as its tests use it: the real application, with a spool that keeps what it is given."""

from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import Any

import falcon.testing
import orjson
import pytest

from arms.app import create_app
from arms.collector import Collector, Trust
from arms.devices import device
from arms.gather import Gather
from arms.quota import Quota
from oceanus import sites
from oceanus.errors import SpoolError, SpoolUnclearError
from oceanus.pushes import Push

TOKEN = "a-token"
GOOD = {"oid": "2", "evt": "pageview", "sid": "86895a04e5a59600", "url": "https://shop.example/"}


class KeptSpool:
    """A spool that keeps every push, or fails as it is told."""

    def __init__(self) -> None:
        self.pushes: list[Push] = []
        self.failure: SpoolError | None = None
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

    def __init__(self, text: str, *, proxies: int = 0, limit: int = 100, gaze: int = 10) -> None:
        self.spool = KeptSpool()
        self.now_us = 1_795_000_000_000_000
        trust = Trust(proxies=proxies, token=TOKEN, internal=(ip_network("192.168.0.0/16"),))
        gather = Gather(self.spool)
        self.collector = Collector(sites.parse(text), gather, Quota(limit), trust, device, lambda: self.now_us)
        app = create_app(self.collector, self.spool, self.spool, gaze_connections=gaze)
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

    def make(*, proxies: int = 0, limit: int = 100, gaze: int = 10, **changes: str) -> Arms:
        return Arms(sample(**changes), proxies=proxies, limit=limit, gaze=gaze)

    return make


@pytest.fixture
def arms(make_arms: Callable[..., Arms]) -> Arms:
    """A collector of the sample sites."""
    return make_arms()
