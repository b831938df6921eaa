"""Batches: which rows of a claim go to one table now, and what becomes of the others. Pure.

One claim is one table is one append. Rows of another table, and what would make the append too large, go back to the
list's old end; those of a table in trouble step aside, and those of a newer release; what is no record goes to the
failed records.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from oceanus import ledger, records, tables
from oceanus.errors import NewerFormatError, NotARecordError
from oceanus.ledger import Count, counts
from oceanus.records import Failed, Record
from oceanus.tables import Row, Table

# What becomes of a row: the letters of the script SORT.
KEEP, BACK, TRIED, ASIDE, FAILED, LANDED, REPEATED = "k", "b", "t", "w", "f", "l", "r"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A claim, read: a flag for each row, and the rows of those that are kept, in the claim's order.

    `received_us` is when each of the kept was received, to the millisecond; `settled` what the ledger will count of
    them, `counts` what it counts of the failed. `undeclared` are members of kept records for which the table has no
    column: their rows are not complete. `newer` says what is wrong with a row that a newer release wrote, if there is
    one.
    """

    table: Table
    flags: str
    rows: list[Row]
    received_us: list[int]
    settled: list[Count] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)
    undeclared: frozenset[str] = frozenset()
    newer: str = ""

    @property
    def is_whole(self) -> bool:
        """Say whether every row of the claim is kept."""
        return set(self.flags) == {KEEP}


@dataclass(frozen=True, slots=True)
class _Read:
    """One row of a claim: its record and row, or why it is none."""

    raw: bytes
    table: Table | None = None
    record: Record | None = None
    row: Row | None = None
    reason: str = ""
    is_newer: bool = False


def read(
    raw_rows: Sequence[bytes],
    site: str,
    table_of: Callable[[Record], Table],
    key: str,
    max_bytes: int,
    now_us: int,
    *,
    strict: Callable[[str], bool] = lambda path: False,
    aside: Callable[[str], bool] = lambda path: False,
    newer: str = ASIDE,
) -> Batch | None:
    """Sort a claim's rows (newest first) into a batch for the table of the oldest; None if there is nothing to write.

    Where nothing can be written, but rows are there, the batch has no records and its flags say where they go.
    Both ask about a table's path: `strict`, whether a record with a member for which it has no column is set aside,
    instead of named in `undeclared`; `aside`, whether the table is in trouble, so that its rows step aside. `newer` is
    the flag of rows that a newer release wrote.
    """
    if not raw_rows:
        return None
    plain = _plain(raw_rows, table_of, key, max_bytes, aside)
    if plain is not None:
        return plain
    cells = [_read(raw, table_of, key, strict) for raw in raw_rows]
    away = {cell.table.path for cell in cells if cell.table is not None and aside(cell.table.path)}
    good = [cell for cell in cells if cell.table is not None and cell.table.path not in away]
    table = good[-1].table if good else None
    flags = _flags(cells, table, max_bytes, away, newer)
    bad = [cell for cell, flag in zip(cells, flags, strict=True) if flag == FAILED]
    kept = [cell for cell, flag in zip(cells, flags, strict=True) if flag == KEEP]
    found = [cell.record for cell in kept if cell.record is not None]
    return Batch(
        table=table or Table(path="", columns=(), description=""),
        flags=flags,
        rows=[cell.row for cell in kept if cell.row is not None],
        received_us=records.receipts(found, key),
        settled=counts(ledger.SETTLED, found) if key == "eid" else [],
        undeclared=frozenset(
            name for cell in kept if cell.table and cell.record for name in tables.undeclared(cell.table, cell.record)
        ),
        failed=[refused(site, cell.raw, cell.record, cell.reason, now_us) for cell in bad],
        # a failed record may have no eid, and was counted when it failed
        counts=counts(ledger.FAILED, [cell.record for cell in bad if cell.record is not None]) if key == "eid" else [],
        newer=next((cell.reason for cell in cells if cell.is_newer), ""),
    )


def refused(site: str, raw: bytes, record: Record | None, reason: str, now_us: int) -> Failed:
    """Return the failed record of a row that was accepted and cannot be written; its text is kept whole."""
    eid = record.get("eid") if record else None
    return Failed(
        fid=records.mint(now_us),
        dt=records.time_text(now_us),
        site=site,
        stage="write",
        reason=reason[:1000],
        raw=raw.decode(errors="backslashreplace"),
        eid=eid if isinstance(eid, str) else None,
    )


def flags_of(total: int, marked: Mapping[int, object] | set[int], mark: str, others: str) -> str:
    """Return `total` flags: `mark` at the places that are marked, `others` elsewhere."""
    return "".join(mark if place in marked else others for place in range(total))


def _plain(
    raw_rows: Sequence[bytes],
    table_of: Callable[[Record], Table],
    key: str,
    max_bytes: int,
    aside: Callable[[str], bool],
) -> Batch | None:
    """Return the batch of a claim whose rows are all kept, and plainly good; None for any other.

    A table follows from the day of a record's dt, so that it is asked for once for each day.
    """
    if sum(map(len, raw_rows)) > max_bytes and len(raw_rows) > 1:
        return None
    found = records.decode_plain(raw_rows, key)
    if found is None:
        return None
    table, *others = {table.path: table for table in map(table_of, _one_a_day(found))}.values()
    if others or aside(table.path):
        return None
    received_us = records.receipts(found, key)
    settled = counts(ledger.SETTLED, found) if key == "eid" else []
    rows = tables.plain_rows(table, found)  # they are no records any more
    if rows is None:
        return None
    return Batch(table=table, flags=KEEP * len(rows), rows=rows, received_us=received_us, settled=settled)


def _one_a_day(found: Sequence[Record]) -> list[Record]:
    return list({record["dt"][:10]: record for record in found}.values())


def _flags(cells: list[_Read], table: Table | None, max_bytes: int, away: set[str], newer: str) -> str:
    """Decide from the oldest row on, so that what is too much is what came last."""
    flags: list[str] = []
    size = 0
    for cell in reversed(cells):
        if cell.table is None:
            flags.append(newer if cell.is_newer else FAILED)
            continue
        if cell.table.path in away:
            flags.append(ASIDE)
            continue
        size += len(cell.raw)
        fits = KEEP not in flags or size <= max_bytes
        flags.append(KEEP if table is not None and cell.table.path == table.path and fits else BACK)
    return "".join(reversed(flags))


def _read(raw: bytes, table_of: Callable[[Record], Table], key: str, strict: Callable[[str], bool]) -> _Read:
    try:
        record = records.decode(raw, key)
    except NewerFormatError as exc:
        return _Read(raw, reason=str(exc), is_newer=True)
    except NotARecordError as exc:
        return _Read(raw, reason=f"record: {exc}")
    table = table_of(record)
    unknown = tables.undeclared(table, record) if strict(table.path) else set()
    if unknown:
        return _Read(raw, None, record, reason=f"{', '.join(sorted(unknown))}: no column of {table.path}")
    try:
        return _Read(raw, table, record, tables.row(table, record))
    except NotARecordError as exc:
        return _Read(raw, None, record, reason=str(exc))
