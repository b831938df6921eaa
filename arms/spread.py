"""The spread: all Redis of arms as one, with what belongs to each: its pusher, its store, its journal, its flights.

A beacon goes where its site lives. Whatever befalls one Redis, the others' beacons neither wait for it nor know of it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from arms.gather import Gather
from arms.journal import SUFFIX, JournalFullError, sync_folder, written
from arms.store import Store
from oceanus.errors import SpoolError
from oceanus.spool import Pusher

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """One Redis, as arms has it."""

    pusher: Pusher
    store: Store
    gather: Gather


class Spread:
    """Every part by the name of its Redis, and the part of each site by `home`."""

    def __init__(self, parts: Mapping[str, Part], home: Callable[[str], str]) -> None:
        self.parts = parts
        self._home = home

    def gather(self, site: str) -> Gather:
        """Return what gathers a site's records for the Redis in which it lives."""
        return self.parts[self._home(site)].gather

    async def ready(self) -> None:
        """Raise SpoolError or JournalFullError unless a beacon could be made durable now.

        One Redis that takes beacons is enough, with its journal: a balancer that took arms out for another one's sake
        would refuse the sites of both.
        """
        answers = await asyncio.gather(*map(_trouble, self.parts.values()))
        if all(answers):
            raise next(one for one in answers if one)

    async def lengths(self, sites: Sequence[str]) -> list[int]:
        """Return the length of each site's queue where it lives; raises SpoolError."""
        return await self._at_home(sites, lambda part, some: part.pusher.lengths(some))

    async def accepted(self, sites: Sequence[str], day: str) -> list[int]:
        """Return what was accepted on a day (YYYYMMDD) for each site: in all Redis that answer, for it may have moved.

        Raises SpoolError where none does.
        """
        asked = (part.pusher.accepted(sites, day) for part in self.parts.values())
        answers = await asyncio.gather(*asked, return_exceptions=True)
        known = [one for one in answers if isinstance(one, list)]
        for one in answers:
            if isinstance(one, BaseException) and (not known or not isinstance(one, SpoolError)):
                raise one
        return [sum(counts) for counts in zip(*known, strict=True)]

    async def last_ms(self, sites: Sequence[str]) -> list[int | None]:
        """Return when each site's last beacon was received, in milliseconds since 1970, by the Redis where it lives.

        None for a site that has had none; raises SpoolError.
        """
        return await self._at_home(sites, lambda part, some: part.pusher.last_ms(some))

    async def _at_home[T](
        self, sites: Sequence[str], ask: Callable[[Part, Sequence[str]], Awaitable[Sequence[T]]]
    ) -> list[T]:
        """Return an answer for each site, asked where it lives: once for all sites of a Redis."""
        there: dict[str, list[str]] = {}
        for site in sites:
            there.setdefault(self._home(site), []).append(site)
        found = await asyncio.gather(*(ask(self.parts[name], some) for name, some in there.items()))
        answers = {
            site: one
            for some, every in zip(there.values(), found, strict=True)
            for site, one in zip(some, every, strict=True)
        }
        return [answers[site] for site in sites]


async def _trouble(part: Part) -> SpoolError | JournalFullError | None:
    try:
        await part.store.ready()
    except (SpoolError, JournalFullError) as exc:
        return exc
    return None


def folder(journal_dir: str, name: str) -> Path:
    """Return where the journal of a Redis lies: the default one's in JOURNAL_DIR itself, others' below (made)."""
    path = Path(journal_dir)
    if not name:
        return path
    (path / name).mkdir(exist_ok=True, mode=0o700)
    sync_folder(path)  # or a power cut could take it away, with what lies in it
    return path / name


def strange(journal_dir: str, names: Sequence[str]) -> list[Path]:
    """Return the folders in JOURNAL_DIR that hold beacons for a Redis which is none of `names`."""
    below = {path.parent for path in Path(journal_dir).glob(f"*/*{SUFFIX}") if path.parent.name not in names}
    return sorted(path for path in below if any(map(_is_filled, path.glob(f"*{SUFFIX}"))))


def _is_filled(segment: Path) -> bool:
    """Say whether anything was ever written to a segment, which was made at its full size."""
    try:
        with segment.open("rb") as file:
            return written(file.fileno()) > 0
    except FileNotFoundError:  # its process has removed it meanwhile
        return False
