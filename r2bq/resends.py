"""Resends: beacons that a tracker sent again because it got no answer, and that may be in their table already.

Such a record carries the id that its first try has, too. It is judged when it is a minute old and its first try is not
on its way any more; then the table knows whether that came through. Nothing has to be remembered for first tries. One
writer at a time drains this list of a site (see CLAIM).
"""

from collections.abc import Sequence

from oceanus import records
from oceanus.records import Record
from r2bq import fence
from r2bq.batches import BACK, KEEP
from r2bq.source import Source
from r2bq.standing import Warehouse

RIPE_SECONDS = 60
DAYS = 7  # a tracker sends again for so long, and the first try is looked for so far back
_DAY_US = 86_400_000_000
_AHEAD_US = 3_600_000_000  # another arms' clock may be ahead

Claimed = Sequence[Record | None]  # a claim's rows, newest first; None for what is no record


def judgeable(claimed: Claimed, waiting: set[str] | None, now_us: int) -> str:
    """Return a flag for each row: back for a record that is not a minute old or whose first try is on its way.

    `waiting` are the ids of all that is on its way to a table; None where that is not known.
    """
    oldest_us = now_us - RIPE_SECONDS * 1_000_000

    def waits(one: Record) -> bool:
        return waiting is None or one["eid"] in waiting or records.received(one) > oldest_us

    return "".join(BACK if one is not None and waits(one) else KEEP for one in claimed)


def known(source: Source, warehouse: Warehouse, asked: Sequence[Record]) -> set[str]:
    """Return the ids of those records that stand in a table of the site, or among the failed ones."""
    return _known(source, warehouse, asked, DAYS) | _failed(source, warehouse, asked)


def landed(source: Source, warehouse: Warehouse, asked: Sequence[Record]) -> set[str]:
    """Return the ids of those records that stand in their own table."""
    return _known(source, warehouse, asked, 0)


def repeated(claimed: Claimed, there: set[str]) -> set[int]:
    """Return the places of records that are there, or that an older one of these repeats."""
    seen, places = set(there), set()
    for place in range(len(claimed) - 1, -1, -1):
        record = claimed[place]
        if record is None:
            continue
        if record["eid"] in seen:
            places.add(place)
        seen.add(record["eid"])
    return places


def _known(source: Source, warehouse: Warehouse, asked: Sequence[Record], days: int) -> set[str]:
    ids, (first_us, last_us) = [record["eid"] for record in asked], _span(asked, days)
    whole_days = range(first_us // _DAY_US, last_us // _DAY_US + 1)
    paths = {source.path({"dt": records.time_text(day * _DAY_US)}) for day in whole_days}
    found: set[str] = set()
    for path in sorted(paths):
        found |= fence.look_up(warehouse, path, source, ids, (first_us, last_us))
    return found


def _failed(source: Source, warehouse: Warehouse, asked: Sequence[Record]) -> set[str]:
    ids = [record["eid"] for record in asked]
    return fence.look_up(warehouse, source.naming.failed.path, source, ids, _span(asked, DAYS))


def _span(asked: Sequence[Record], days: int) -> tuple[int, int]:
    times = [records.time_us(record["dt"]) for record in asked]
    if not days:
        return min(times), max(times)
    return min(times) - days * _DAY_US, max(times) + _AHEAD_US
