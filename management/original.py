"""The original's records: what lies in its Redis lists, as records of ours. Pure.

Its r2bq wrote each as it was: JSON text with the columns' names, all values texts, `dt` the receive time. It has also
pushed empty texts, which stand for nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import orjson

from oceanus import records, tables
from oceanus.errors import NotARecordError
from oceanus.pushes import Numbered, Push
from oceanus.records import Failed, Record
from oceanus.sites import Site
from oceanus.tables import Naming


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A text of the original's, ready to be pushed: a record of ours, or a failed record."""

    source: str
    dt: str
    id: str
    text: bytes


def moved(text: bytes, site: Site, naming: Naming, now_us: int) -> Moved | None:
    """Return what a text of the site's old list becomes; None for an empty one, which the original left at times.

    What the site's table would not take is a failed record, with the text as it was.
    """
    if not text.strip():
        return None
    try:
        record = _record(text, site, naming)
    except NotARecordError as exc:
        failed = Failed(
            fid=records.mint(now_us),
            dt=records.time_text(now_us),
            site=site.name,
            stage="rules",
            reason=f"migrate: {exc}"[:1000],
            raw=text.decode(errors="backslashreplace"),
        )
        return Moved(source="failed", dt=failed.dt, id=failed.fid, text=failed.encode())
    return Moved(source="queue", dt=record["dt"], id=record["eid"], text=records.encode(record))


def pushes(site: str, some: Iterable[Moved], producer: str, first: int) -> Iterator[Numbered]:
    """Yield the pushes of some texts, numbered from `first` on: the same ones for the same texts."""
    ordered = sorted(some, key=_place)
    for number, (place, group) in enumerate(groupby(ordered, key=_place), first):
        source, minute = place
        together = list(group)
        push = Push(
            site=site,
            source=source,
            minute=minute,
            digest=sum(records.digest(one.id) for one in together),
            last_ms=max(records.time_us(one.dt) for one in together) // 1000,
            records=[one.text for one in together],
        )
        yield Numbered(push, producer, number)


def _place(one: Moved) -> tuple[str, str]:
    return one.source, records.minute(one.dt)


def _record(text: bytes, site: Site, naming: Naming) -> Record:
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise NotARecordError(f"is not JSON: {exc}") from exc
    if not isinstance(given, dict):
        raise NotARecordError("is JSON, but no object")
    try:
        received_us = records.time_us(given["dt"])
    except (KeyError, ValueError, TypeError):
        raise NotARecordError(f"dt: {given.get('dt')!r} is no time") from None
    values = {name: _value(value) for name, value in given.items() if value is not None}
    record = values | {"v": records.FORMAT, "eid": records.mint(received_us), "dt": records.time_text(received_us)}
    table = naming.table(site, record["dt"])
    unknown = tables.undeclared(table, record)
    if unknown:
        raise NotARecordError(f"{', '.join(sorted(unknown))}: no column of {table.path}")
    missing = [column.name for column in table.columns if column.mode == "REQUIRED" and column.name not in record]
    if missing:
        raise NotARecordError(f"{', '.join(missing)}: is missing")
    tables.row(table, record)
    return record


def _value(value: Any) -> Any:
    """Return a value as our records hold it: an object or a list as JSON text."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode() if isinstance(value, dict | list) else value
