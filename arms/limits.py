"""Limits: whether a beacon is taken at all, before anything of it is judged: by its address's rate, by its site's cap.

Pure, but for the clock that it is given. Without a rate and without a cap there are no limits, and nothing is asked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from arms.caps import Caps, seconds_left
from arms.rates import Rates
from oceanus import records


@dataclass(frozen=True, slots=True)
class Limited:
    """Why a beacon is answered 429: `limit` is `address` or `day`; `seconds` until it is worth another try."""

    limit: str
    reason: str
    seconds: int


class LimitedError(Exception):
    """This beacon is not taken now: answer 429; nothing was judged or stored."""

    def __init__(self, limited: Limited) -> None:
        super().__init__(limited.reason)
        self.limited = limited


class Limits:
    """Both limits, in one call."""

    def __init__(self, rates: Rates | None, caps: Caps, monotonic: Callable[[], float]) -> None:
        self._rates = rates
        self._monotonic = monotonic
        self.caps = caps

    def judge(self, site: str, address: str, now_us: int, *, trusted: bool) -> Limited | None:
        """Return why a beacon is not taken now, if so; one that is taken leaves its address's bucket.

        A trusted caller speaks for many addresses, so that the rate is not for it; a day's cap is for everyone.
        """
        if self.caps.is_capped(site) and self.caps.is_full(site, day(now_us)):
            return Limited("day", "site: has its beacons for today (daily_cap)", seconds_left(now_us))
        if self._rates is None or trusted:
            return None
        seconds = self._rates.take(address, self._monotonic())
        return Limited("address", "address: sends too many beacons", ceil(seconds)) if seconds else None


def day(now_us: int) -> str:
    """Return the day of a time, YYYYMMDD, as the ledger counts it."""
    return records.day(records.time_text(now_us))
