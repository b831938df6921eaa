"""Rates: how many beacons an address may send, as a token bucket for each. Pure; the time is given.

A bucket holds `burst` beacons and is filled again at `per_second`. It is kept as one number, the moment when it will be
full, so an address of which nothing is remembered has a full bucket. What is forgotten first is what was used least
lately: whoever has `most` addresses can empty more buckets than one, and could do so anyway.
"""

from collections import OrderedDict
from ipaddress import AddressValueError, IPv6Address


class Rates:
    """The buckets of the addresses that sent something lately."""

    def __init__(self, per_second: float, burst: int, most: int = 100_000) -> None:
        self._each = 1 / per_second
        self._whole = burst / per_second
        self._most = most
        self._full_at: OrderedDict[str | int, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, address: str, now: float) -> float:
        """Take one beacon out of the address's bucket; return 0, or the seconds until there is one to take.

        `now` is in seconds of a clock that never goes back.
        """
        name = network(address)
        full_at = max(self._full_at.get(name, now), now) + self._each
        missing = full_at - now - self._whole
        if missing > 1e-9:  # less than a nanosecond is the rounding of floats
            return missing
        self._full_at[name] = full_at
        self._full_at.move_to_end(name)
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)
        return 0.0


def network(address: str) -> str | int:
    """Return whose bucket it is: an IPv4 address has its own, the addresses of an IPv6 /64 share one."""
    if ":" not in address:
        return address
    try:
        return int(IPv6Address(address)) >> 64
    except AddressValueError:
        return address
