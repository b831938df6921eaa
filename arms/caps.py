"""Caps: how many beacons a site accepts in a day (UTC), over all arms processes, by Redis' ledger. Pure.

A process knows what Redis said last and what itself has accepted since; it believes the larger, because a day's count
never falls. So the cap holds while Redis is away, and may be overshot by what the other processes accept between two
looks, and by what is on its way to the disk.
"""

from collections.abc import Mapping

from oceanus.records import DAY_US


class Caps:
    """What each site with a cap has accepted today, as far as this process knows."""

    def __init__(self, caps: Mapping[str, int]) -> None:
        self.sites = tuple(caps)
        self._caps = dict(caps)
        self._day = ""
        self._counts: dict[str, int] = {}
        self._told: set[str] = set()

    def is_capped(self, site: str) -> bool:
        """Say whether a site has a cap at all."""
        return site in self._caps

    def is_full(self, site: str, day: str) -> bool:
        """Say whether a site takes no more beacons on this day (YYYYMMDD)."""
        cap = self._caps.get(site)
        return cap is not None and self._of(day).get(site, 0) >= cap

    def is_news(self, site: str, day: str) -> bool:
        """Say, once a day and site, that its cap has been reached."""
        self._of(day)
        if site in self._told:
            return False
        self._told.add(site)
        return True

    def add(self, site: str, day: str) -> None:
        """Count one beacon that was accepted here."""
        if site in self._caps and day == self._day:
            self._counts[site] = self._counts.get(site, 0) + 1

    def learn(self, site: str, day: str, accepted: int) -> None:
        """Take what Redis has counted for this day, over all processes."""
        counts = self._of(day)
        counts[site] = max(accepted, counts.get(site, 0))

    def _of(self, day: str) -> dict[str, int]:
        if day > self._day:
            self._day, self._counts, self._told = day, {}, set()
        return self._counts if day == self._day else {}


def seconds_left(now_us: int) -> int:
    """Return the whole seconds after which the next day has begun (UTC)."""
    return -(-(DAY_US - now_us % DAY_US) // 1_000_000)
