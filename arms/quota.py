"""The quota of failed records: bad beacons from anyone must not fill Redis.

Up to `limit` a site and minute are kept whole; beyond, they are counted by reason in one record for that minute.
"""

from collections import Counter
from dataclasses import dataclass, field

from oceanus import records
from oceanus.records import Failed

MINUTE_US = 60_000_000
MAX_REASONS = 50


@dataclass(slots=True)
class _Minute:
    minute: int
    kept: int = 0
    counted: Counter[str] = field(default_factory=Counter)


class Quota:
    """Decides which failed records are kept whole, and counts the others."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sites: dict[str, _Minute] = {}
        self._over: list[Failed] = []

    def admit(self, site: str, reason: str, now_us: int) -> bool:
        """Return whether this failed record is kept whole; if not, it is counted."""
        minute = self._minute(site, now_us)
        if minute.kept < self._limit:
            minute.kept += 1
            return True
        minute.counted[reason if reason in minute.counted or len(minute.counted) < MAX_REASONS else "others"] += 1
        return False

    def due(self, now_us: int, everything: bool = False) -> list[Failed]:
        """Return, once, a failed record for each site and minute that was over its quota and has ended.

        With `everything`, also for the minutes that have not ended.
        """
        for site, minute in list(self._sites.items()):
            if everything or minute.minute != now_us // MINUTE_US:
                self._close(site, now_us)
        over, self._over = self._over, []
        return over

    def _minute(self, site: str, now_us: int) -> _Minute:
        if site in self._sites and self._sites[site].minute != now_us // MINUTE_US:
            self._close(site, now_us)
        return self._sites.setdefault(site, _Minute(now_us // MINUTE_US))

    def _close(self, site: str, now_us: int) -> None:
        minute = self._sites.pop(site)
        if minute.counted:
            self._over.append(_summary(site, minute, self._limit, now_us))


def _summary(site: str, minute: _Minute, limit: int, now_us: int) -> Failed:
    return Failed(
        fid=records.mint(now_us),
        dt=records.time_text(minute.minute * MINUTE_US),
        site=site,
        stage="rules",
        reason=f"counted: {minute.counted.total()} more in this minute, beyond the {limit} that are kept whole",
        raw=records.encode(dict(minute.counted.most_common())).decode(),
    )
