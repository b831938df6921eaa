"""Shards: sites may live in several Redis, and here it is said which site lives where.

A site lives in one Redis: its beacons are pushed there. Where it lived before, records of it may still lie; so every
site is drained from every Redis, and what was counted of it is the sum over all of them. Nothing is hashed: a Redis
that is added moves no site.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from oceanus import ledger
from oceanus.errors import MisconfiguredError, SpoolError, SpoolRefusedError
from oceanus.ledger import Ledger
from oceanus.pushes import Retry
from oceanus.settings import RedisSettings
from oceanus.spool import Look, Spool, connect

DEFAULT = ""  # the name of the Redis of REDIS_PD_SERVICE_HOST; the others are named by their address


@dataclass(frozen=True, slots=True)
class Shards:
    """Every Redis by its name, the default one first, and those sites that do not live in that one."""

    redis: Mapping[str, RedisSettings]
    homes: Mapping[str, str]

    def home(self, site: str) -> str:
        """Return the name of the Redis in which a site lives."""
        return self.homes.get(site, DEFAULT)

    def at(self, address: str) -> str | None:
        """Return the name of the Redis at `host:port`; None if no such one is configured."""
        if address == self.redis[DEFAULT].address:
            return DEFAULT
        return address if address in self.redis else None


def shards(settings: RedisSettings, declared: Container[str] | None = None) -> Shards:
    """Return every Redis of the settings, and where sites live.

    Raises MisconfiguredError if one of those sites is not among the declared ones.
    """
    default = settings.address
    unknown = [one for one in settings.shards if declared is not None and one.site and one.site not in declared]
    if unknown:
        remedy = "name another, or for what is left there the address alone"
        lines = [f"REDIS_SHARDS: sites.yaml declares no site {one.site}: {remedy}: {one.address}" for one in unknown]
        raise MisconfiguredError(lines)
    every = {DEFAULT: settings}
    every |= {
        one.address: replace(settings, host=one.host, port=one.port)
        for one in settings.shards
        if one.address != default
    }
    homes = {one.site: one.address for one in settings.shards if one.site and one.address != default}
    return Shards(every, homes)


class Spools:
    """The reading ends of all Redis as one: what is known of a site is the sum of what each of them knows.

    An error names the Redis that it came from, if that is not the default one.
    """

    def __init__(self, every: Mapping[str, Spool], homes: Mapping[str, str]) -> None:
        self.every = every
        self._homes = homes

    @classmethod
    def connected(cls, chosen: Shards, seconds: float = 5.0) -> "Spools":
        """Return the spools of these shards."""
        return cls({name: Spool(connect(one, seconds)) for name, one in chosen.redis.items()}, chosen.homes)

    def home(self, site: str) -> str:
        """Return the name of the Redis in which a site lives."""
        return self._homes.get(site, DEFAULT)

    def is_home(self, name: str) -> bool:
        """Say whether sites live in a Redis; in the default one live all that are not named."""
        return name == DEFAULT or name in self._homes.values()

    def sites(self) -> set[str]:
        """Return every site that ever had records in one of them."""
        return {site for found in self._ask(Spool.sites).values() for site in found}

    def looks(self, site: str) -> dict[str, Look]:
        """Return what each Redis holds of a site."""
        return self._ask(lambda spool: spool.look(site))

    def look(self, site: str) -> Look:
        """Return what all of them hold of a site."""
        return together(list(self.looks(site).values()))

    def glances(self, sites: Sequence[str], days: Sequence[str]) -> dict[str, Look]:
        """Return a look at each site whose ledger has these days alone; see Spool.glances."""
        found = list(self._ask(lambda spool: spool.glances(sites, days)).values())
        return {site: together(list(of_site)) for site, of_site in zip(sites, zip(*found, strict=True), strict=True)}

    def ledger(self, site: str) -> Ledger:
        """Return what all of them have counted of a site."""
        return ledger.summed(list(self._ask(lambda spool: spool.ledger(site)).values()))

    def epochs(self) -> dict[str, int | None]:
        """Return since when each counts, in milliseconds since 1970."""
        return self._ask(Spool.epoch_ms)

    def alarms(self) -> dict[str, dict[str, str]]:
        """Return each one's alarms."""
        return self._ask(Spool.alarms)

    def acknowledge(self, name: str, alarms: Mapping[str, str]) -> None:
        """Forget these alarms of one Redis."""
        with _named(name):
            self.every[name].acknowledge(alarms)

    def retry(
        self, site: str, retries: Sequence[Retry], *, since_ms: int | None, alerts: bool
    ) -> list[str | SpoolRefusedError]:
        """Send failed records again, to where the site lives; see Spool.retry."""
        name = self.home(site)
        with _named(name):
            return self.every[name].retry(site, retries, since_ms=since_ms, alerts=alerts)

    def retried(self, site: str, fids: Sequence[str] | None = None) -> dict[str, int]:
        """Return which failed records were sent again, from whichever Redis that was, and when."""
        found = self._ask(lambda spool: spool.retried(site, fids))
        return {fid: when_ms for marks in found.values() for fid, when_ms in marks.items()}

    def marks_since(self, site: str) -> int | None:
        """Return since when it is known in the site's own Redis which were sent again."""
        name = self.home(site)
        with _named(name):
            return self.every[name].marks_since(site)

    def _ask[T](self, ask: Callable[[Spool], T]) -> dict[str, T]:
        """Return every one's answer."""
        found = {}
        for name, spool in self.every.items():
            with _named(name):
                found[name] = ask(spool)
        return found


def together(looks: Sequence[Look]) -> Look:
    """Return several looks at one site as one."""
    if len(looks) == 1:
        return looks[0]
    counted: dict[str, int] = {}
    for look in looks:
        for name, number in look.ledger.items():
            counted[name] = max(counted.get(name, 0), number) if name == "last" else counted.get(name, 0) + number
    return Look(
        queue=sum(one.queue for one in looks),
        claimed=sum(one.claimed for one in looks),
        waiting_failed=sum(one.waiting_failed for one in looks),
        oldest=[raw for one in looks for raw in one.oldest],
        ledger=counted,
    )


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Let an error say which Redis it came from."""
    try:
        yield
    except SpoolError as exc:
        if name == DEFAULT:
            raise
        raise type(exc)(f"{name}: {exc}") from exc
