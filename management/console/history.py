"""The history: what each site did in the last minutes, a point a look, for the charts. Pure but for its lock."""

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from management import status
from oceanus.ledger import ACCEPTED, FAILED, REJECTED, SETTLED
from oceanus.spool import Look

POINTS = 300
SERIES = ("rate", "oldest", "queue", "failing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """A site at one look. Rates are per second since the look before; counts are of today (UTC).

    `rate`: accepted; `failing`: rejected or refused; `oldest`: seconds that the oldest record has waited, 0 where none
    waits; `last`: seconds since the newest beacon, None where there was none yet.
    """

    rate: float
    failing: float
    queue: int
    claimed: int
    oldest: float
    accepted: int
    landed: int
    failed: int
    last: float | None


class History:
    """Keeps the last points of every site, and what was counted at the last look."""

    def __init__(self, points: int = POINTS) -> None:
        self._points = points
        self._times: deque[float] = deque(maxlen=points)
        self._series: dict[str, dict[str, deque[float | None]]] = {}
        self._counted: dict[str, dict[str, int]] = {}
        self._at: float | None = None
        self._lock = threading.Lock()

    def note(self, at: float, day: str, looks: Mapping[str, Look]) -> dict[str, Now]:
        """Add a point for each site (at: seconds since 1970; day: today as YYYYMMDD); return where each stands."""
        with self._lock:
            seconds = None if self._at is None else max(at - self._at, 0.001)
            found = {site: self._now(site, look, at, day, seconds) for site, look in looks.items()}
            self._at = at
            self._times.append(at)
            for site in found.keys() | self._series.keys():
                now = found.get(site)
                point: Mapping[str, float | None] = dict.fromkeys(SERIES) if now is None else _point(now)
                for name, value in point.items():
                    self._of(site)[name].append(value)
            self._counted = {site: dict(look.ledger) for site, look in looks.items()}
            return found

    def told(self) -> dict[str, object]:
        """Return the times of all points, and each site's series; a point that is not known is null."""
        with self._lock:
            series = {site: {name: list(some) for name, some in of.items()} for site, of in self._series.items()}
            return {"times": list(self._times), "sites": series}

    def _of(self, site: str) -> dict[str, deque[float | None]]:
        """Return a site's series; one that is new was unknown before."""
        if site not in self._series:
            blank: list[float | None] = [None] * (len(self._times) - 1)
            self._series[site] = {name: deque(blank, maxlen=self._points) for name in SERIES}
        return self._series[site]

    def _now(self, site: str, look: Look, at: float, day: str, seconds: float | None) -> Now:
        one = status.site_status(look, int(at * 1e6))
        before = self._counted.get(site)
        return Now(
            rate=_rate(look.ledger, before, ACCEPTED, seconds),
            failing=_rate(look.ledger, before, REJECTED + FAILED, seconds),
            queue=one.queue,
            claimed=one.claimed,
            oldest=round(one.oldest_seconds or 0.0, 2),
            accepted=look.ledger.get(day + ACCEPTED, 0),
            landed=look.ledger.get(day + SETTLED, 0),
            failed=look.ledger.get(day + REJECTED, 0) + look.ledger.get(day + FAILED, 0),
            last=one.last_seconds,
        )


def _rate(counted: Mapping[str, int], before: Mapping[str, int] | None, kinds: str, seconds: float | None) -> float:
    """Return how many more of these kinds were counted, a second; what is sent again counts back, and is no rate."""
    if before is None or seconds is None:
        return 0.0
    names = [name for name in counted if name[:8].isdigit() and name[8:] in tuple(kinds)]
    return round(max(0, sum(counted[name] - before.get(name, 0) for name in names)) / seconds, 2)


def _point(now: Now) -> dict[str, float | None]:
    return {"rate": now.rate, "oldest": now.oldest, "queue": float(now.queue + now.claimed), "failing": now.failing}
