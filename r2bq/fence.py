"""The fence: closes a claim's stream for good, and only then says which of its rows are in the table.

Looking rows up alone would prove nothing: an append that is still under way could land a moment later.
"""

from collections.abc import Sequence

from oceanus import records
from oceanus.errors import NotARecordError, TableMissingError, WarehouseError
from oceanus.records import Record
from oceanus.spool import Claim
from r2bq.source import Source
from r2bq.standing import Warehouse


def landed(claim: Claim, source: Source, warehouse: Warehouse, *, trust_count: bool) -> set[int]:
    """Return the places of a claim's rows that are in its table, after its stream can take no more.

    The number of rows that the stream took tells; where BigQuery does not know the stream any more, or where the count
    may be of rows that are not ours (`trust_count` false), the rows are looked up by their ids.
    """
    total = len(claim.rows)
    found = decoded(claim.rows, source.key)
    known = [record for record in found if record is not None]
    if len(known) < total:  # nobody could count them as landed
        raise WarehouseError(f"{claim.table}: the claim holds records of another release, which must recover it itself")
    taken = warehouse.writer.finalize(claim.stream)
    if trust_count and taken is not None and taken >= claim.offset + total:
        return set(range(total))
    if taken == claim.offset:
        return set()
    times = [records.time_us(record["dt"]) for record in known]
    ids = [str(record[source.key]) for record in known]
    there = look_up(warehouse, claim.table, source, ids, (min(times), max(times)))
    return {place for place, one in enumerate(ids) if one in there}


def look_up(warehouse: Warehouse, path: str, source: Source, ids: list[str], span: tuple[int, int]) -> set[str]:
    """Return those of `ids` that a table holds; `span`: first and last dt, in microseconds since 1970."""
    key = "eid" if source.is_counted else "fid"
    try:
        return warehouse.queries.landed(path, key, ids, *span, source.is_timed(path))
    except TableMissingError:
        if warehouse.catalog.find(path) is not None:  # a dataset elsewhere than BQ_LOCATION looks missing to a query
            raise
        return set()


def decoded(rows: Sequence[bytes], key: str) -> list[Record | None]:
    """Return the records in rows of a list; None for what another release wrote, or somebody else."""
    return [_record(raw, key) for raw in rows]


def readable(claim: Claim, places: set[int], key: str) -> list[Record]:
    """Return the records at some places of a claim, without those that cannot be read."""
    return [record for record in decoded([claim.rows[place] for place in sorted(places)], key) if record is not None]


def _record(raw: bytes, key: str) -> Record | None:
    try:
        return records.decode(raw, key)
    except NotARecordError:
        return None
