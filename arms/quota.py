"""The quota of failed records: bad beacons from anyone must not fill Redis.

Up to `limit` a site and minute are kept whole; beyond, they are counted by reason in one record for that minute.
"""

from collections import Counter
from dataclasses import dataclass, field

from oceanus import records
from oceanus.records import Failed


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

    def admit(self, site: str, reason: str, now_us: int) -> bool:
        """Return whether this failed record is kept whole; if not, it is counted. Call `due` before."""
        minute = self._sites.setdefault(site, _Minute(now_us // 60_000_000))
        if minute.kept < self._limit:
            minute.kept += 1
            return True
        minute.counted[reason if reason in minute.counted or len(minute.counted) < 50 else "others"] += 1
        return False

    def due(self, now_us: int, everything: bool = False) -> list[Failed]:
        """Return one failed record for each site whose minute is over (or all, at the end) and was over its quota."""
        over = [s for s, m in self._sites.items() if everything or m.minute != now_us // 60_000_000]
        ended = {site: self._sites.pop(site) for site in over}
        return [_summary(site, minute, self._limit, now_us) for site, minute in ended.items() if minute.counted]


def _summary(site: str, minute: _Minute, limit: int, now_us: int) -> Failed:
    return Failed(
        fid=records.mint(now_us),
        dt=records.time_text(minute.minute * 60_000_000),
        site=site,
        stage="rules",
        reason=f"counted: {minute.counted.total()} more in this minute, beyond the {limit} that are kept whole",
        raw=records.encode(dict(minute.counted.most_common())).decode(),
    )
