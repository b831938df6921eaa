"""The stream: the latest records of all sites, as many as fit, and what of them a viewer has not seen yet.

A viewer is a number: where it stands. Nothing is kept for it, so that one who reads slowly costs nothing but what it
misses; and it is shown so many a tick at most, with how many more there were.
"""

import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

MOST_RECORDS = 2000
MOST_BYTES = 8_000_000


@dataclass(frozen=True, slots=True)
class Heard:
    """A record as it came, and its place in the order in which they came."""

    number: int
    site: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """What a viewer is shown: the newest records first, how many more there were for it, and where it stands now."""

    records: list[Heard]
    more: int
    number: int


class Stream:
    """Keeps the latest records; threads may hear and read at once."""

    def __init__(self, most_records: int = MOST_RECORDS, most_bytes: int = MOST_BYTES) -> None:
        self._most_records = most_records
        self._most_bytes = most_bytes
        self._kept: deque[Heard] = deque()
        self._bytes = 0
        self._number = 0
        self._lock = threading.Lock()

    def hear(self, site: str, raw: bytes) -> None:
        """Keep a record, and let the oldest go where there is no more room."""
        with self._lock:
            self._number += 1
            self._kept.append(Heard(self._number, site, raw))
            self._bytes += len(raw)
            while self._kept and (len(self._kept) > self._most_records or self._bytes > self._most_bytes):
                self._bytes -= len(self._kept.popleft().raw)

    def since(self, number: int, is_wanted: Callable[[Heard], bool], most: int) -> Page:
        """Return what came after `number` and is wanted, the newest `most` of it.

        What came and went before anybody looked is counted among `more` where all is wanted, and else unknown.
        """
        with self._lock:
            fresh = list(takewhile(lambda one: one.number > number, reversed(self._kept)))
            last = self._number
        wanted = [one for one in fresh if is_wanted(one)]
        return Page(wanted[:most], max(0, len(wanted) - most), last)

    def find(self, eid: str) -> Heard | None:
        """Return the record of this event, if it is still kept."""
        sign = f'"eid":"{eid}"'.encode()
        with self._lock:
            kept = list(self._kept)
        return next((one for one in reversed(kept) if sign in one.raw), None)


def wanted(site: str, words: str) -> Callable[[Heard], bool]:
    """Return what is true of a record of this site (empty: of any) in which all the words stand, in any case."""
    needles = [json.dumps(word, ensure_ascii=False)[1:-1].casefold() for word in words.split()]

    def is_wanted(one: Heard) -> bool:
        if site and one.site != site:
            return False
        text = one.raw.decode(errors="replace").casefold() if needles else ""
        return all(needle in text for needle in needles)

    return is_wanted
