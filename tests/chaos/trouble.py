"""Trouble: what a proxy does to the requests that pass it, for as long as it lasts. Both proxies ask one of these."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class Deed(StrEnum):
    """What is done to one request."""

    PASS = "pass"
    REFUSE = "refuse"  # not even read
    HANG = "hang"  # held, and passed on late, whether or not somebody still waits for the answer
    CUT_BEFORE = "cut before"  # read, and not passed on
    CUT_AFTER = "cut after"  # passed on, its answer read, and the line cut
    ERROR_500 = "500"
    ERROR_503 = "503"
    QUOTA = "quota"
    BAD_ROWS = "bad rows"  # single rows refused, nothing passed on
    FORGET = "forget"  # the stream is not known any more


PROXY_DEEDS = [one for one in Deed if one not in (Deed.PASS, Deed.BAD_ROWS, Deed.FORGET)]


@dataclass
class Trouble:
    """The deed that is done now, and how often each was done since the start."""

    random: random.Random
    deed: Deed = Deed.PASS
    chance: float = 1.0
    done: Counter[Deed] = field(default_factory=Counter)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self, deed: Deed, chance: float = 1.0) -> None:
        """Do `deed` to each request with this chance, from now on."""
        self.deed, self.chance = deed, chance
        self.over.clear()

    def end(self) -> None:
        """Let all requests pass again; those that hang go on now."""
        self.deed = Deed.PASS
        self.over.set()

    def meet(self) -> Deed:
        """Say what is done to the request that comes now."""
        deed = self.deed if self.random.random() < self.chance else Deed.PASS
        self.done[deed] += 1
        return deed
