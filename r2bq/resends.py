"""Resends: beacons that a tracker sent again because it got no answer, and that may be in their table already.

Such a record carries the id that its first try has, too. It is judged when it is a minute old and its first try is not
on its way any more; then the table knows whether that came through. Nothing has to be remembered for first tries. One
writer at a time drains this list of a site (see CLAIM).
"""

from collections.abc import Sequence

from oceanus import records
from oceanus.records import DAY_US, Record
from r2bq import fence
from r2bq.batches import BACK, KEEP
from r2bq.source import Source
from r2bq.standing import Warehouse

RIPE_SECONDS = 60
DAYS = 7  # a tracker sends again for so long: two copies of a beacon lie no further apart
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


def known(source: Source, warehouse: Warehouse, asked: Sequence[Record], now_us: int) -> set[str]:
    """Return the ids of those records that stand in a table of the site, or among the failed ones.

    Either copy may be the older one: a first try may come late, out of a journal.
    """
    first_us, last_us = _span(asked)
    latest_us = max(now_us, last_us) + _AHEAD_US
    span = first_us - DAYS * DAY_US, min(last_us + DAYS * DAY_US, latest_us)
    # a failed record's dt is when it was refused: at any time since it was received
    refused = min(map(records.received, asked)) - DAYS * DAY_US, latest_us
    ids = [record["eid"] for record in asked]
    failed = fence.look_up(warehouse, source.naming.failed.path, source, ids, refused)
    return _landed(source, warehouse, ids, span) | failed


def landed(source: Source, warehouse: Warehouse, asked: Sequence[Record], now_us: int) -> set[str]:
    """Return the ids of those records that stand in their own table, whatever the time is now."""
    return _landed(source, warehouse, [record[source.key] for record in asked], _span(asked))


def repeated(claimed: Claimed, there: set[str], key: str) -> set[int]:
    """Return the places of records that are there by their `key`, or that an older one of these repeats."""
    seen, places = set(there), set()
    for place in range(len(claimed) - 1, -1, -1):
        record = claimed[place]
        if record is None:
            continue
        if record[key] in seen:
            places.add(place)
        seen.add(record[key])
    return places


def _landed(source: Source, warehouse: Warehouse, ids: list[str], span: tuple[int, int]) -> set[str]:
    days = range(span[0] // DAY_US, span[1] // DAY_US + 1)
    paths = sorted({source.path({"dt": records.time_text(day * DAY_US)}) for day in days})
    return {eid for path in paths for eid in fence.look_up(warehouse, path, source, ids, span)}


def _span(asked: Sequence[Record]) -> tuple[int, int]:
    times = [records.time_us(record["dt"]) for record in asked]
    return min(times), max(times)
