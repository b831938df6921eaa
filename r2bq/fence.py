"""The fence: closes a claim's stream for good, and only then says which of its rows are in the table.

Looking rows up alone would prove nothing: an append that is still under way could land a moment later.
"""

from oceanus import records
from oceanus.errors import NotARecordError, TableMissingError, WarehouseError
from oceanus.records import Record
from oceanus.spool import Claim
from oceanus.warehouse import Catalog, Queries, Writer


def landed(
    claim: Claim, key: str, writer: Writer, queries: Queries, catalog: Catalog, *, timed: bool, trust_count: bool
) -> set[int]:
    """Return the places of a claim's rows that are in its table, after its stream can take no more.

    The number of rows that the stream took tells; where BigQuery does not know the stream any more, or where the count
    may be of rows that are not ours (`trust_count` false), the rows are looked up by `key`. `timed`: dt is a TIMESTAMP.
    """
    total = len(claim.rows)
    taken = writer.finalize(claim.stream)
    if trust_count and taken is not None and taken >= claim.offset + total:
        return set(range(total))
    if taken == claim.offset:
        return set()
    return _looked_up(claim, key, queries, catalog, timed)


def readable(claim: Claim, places: set[int], key: str) -> list[Record]:
    """Return the records at some places of a claim, without those that another release wrote and we cannot read."""
    return [record for place in sorted(places) if (record := _record(claim.rows[place], key)) is not None]


def _looked_up(claim: Claim, key: str, queries: Queries, catalog: Catalog, timed: bool) -> set[int]:
    found = [_record(raw, key) for raw in claim.rows]
    known = [record for record in found if record is not None]
    if len(known) < len(found):
        raise WarehouseError(
            f"{claim.table}: the claim holds records of another release, which must look them up itself"
        )
    times = [records.time_us(record["dt"]) for record in known]
    ids = [str(record[key]) for record in known]
    try:
        there = queries.landed(claim.table, key, ids, min(times), max(times), timed)
    except TableMissingError:
        if catalog.find(claim.table) is not None:  # a dataset elsewhere than BQ_LOCATION looks missing to a query, too
            raise
        return set()
    return {place for place, one in enumerate(ids) if one in there}


def _record(raw: bytes, key: str) -> Record | None:
    try:
        return records.decode(raw, key)
    except NotARecordError:
        return None
