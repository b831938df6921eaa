"""The fence: closes a claim's stream for good, and only then says which of its rows are in the table.

Looking rows up alone would prove nothing: an append that is still under way could land a moment later.
"""

from oceanus import records
from oceanus.errors import NotARecordError, TableMissingError
from oceanus.records import Record
from oceanus.spool import Claim
from oceanus.warehouse import Queries, Writer


def landed(claim: Claim, key: str, writer: Writer, queries: Queries, *, timed: bool, trust_count: bool) -> set[int]:
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
    return _looked_up(claim, key, queries, timed)


def readable(claim: Claim, places: set[int], key: str) -> list[Record]:
    """Return the records at some places of a claim, without those that another release wrote and we cannot read."""
    return [record for place in sorted(places) if (record := _record(claim.rows[place], key)) is not None]


def _looked_up(claim: Claim, key: str, queries: Queries, timed: bool) -> set[int]:
    ids = {place: record for place, raw in enumerate(claim.rows) if (record := _record(raw, key)) is not None}
    if not ids:
        return set()
    times = [records.time_us(record["dt"]) for record in ids.values()]
    wanted = [str(record[key]) for record in ids.values()]
    try:
        there = queries.landed(claim.table, key, wanted, min(times), max(times), timed)
    except TableMissingError:
        return set()
    return {place for place, record in ids.items() if record[key] in there}


def _record(raw: bytes, key: str) -> Record | None:
    try:
        return records.decode(raw, key)
    except NotARecordError:
        return None
