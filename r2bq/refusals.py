"""Refusals: what becomes of a batch of which BigQuery named rows that it will not take. Pure.

A row fails only where BigQuery's word can be taken: a column that is not there yet, or most of many rows refused while
none passes, is the table's trouble and not theirs.
"""

from r2bq.batches import BACK, FAILED, KEEP, flags_of

MANY, FEW = 10, 5  # rows
STUBBORN = 5  # times in a row that all of many rows were refused


def flags(total: int, bad: set[int], *, passes: bool, times: int) -> str | None:
    """Return a flag for each of `total` rows; None: nothing is decided, wait and try again.

    `bad` are the places that were named; `passes`: the table took rows lately; `times`: its troubles in a row. Of rows
    refused in the majority the others are written alone first; the named ones come again, and fail if those pass.
    """
    doubtful = total >= MANY and len(bad) * 2 > total and not passes
    if not doubtful:
        return flags_of(total, bad, FAILED, KEEP)
    if len(bad) < total:
        return flags_of(total, bad, BACK, KEEP)
    if times >= STUBBORN:  # the oldest stand last; of few rows BigQuery's word is taken
        return BACK * (total - FEW) + KEEP * FEW
    return None
