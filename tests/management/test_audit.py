"""The audit's verdicts: what stands still and agrees is proven, what differs is named, what moves is left open."""

import io
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from management import audit
from management.audit import SiteAudit
from oceanus.ledger import Totals
from oceanus.spool import Ledger
from oceanus.warehouse import Landed

MINUTE, DAY = "202611221000", "20261122"
EPOCH_MS = 1_795_000_000_000  # 2026-11-18


def ledger(counted: Totals, waiting: int | None = None, minute: str = MINUTE, epoch_ms: int = EPOCH_MS) -> Ledger:
    in_flight = counted.in_flight if waiting is None else waiting
    return Ledger(days={minute[:8]: counted}, minutes={minute: counted}, waiting=in_flight, epoch_ms=epoch_ms)


def totals(accepted: int, settled: int, failed: int = 0) -> Totals:
    return Totals(
        accepted=accepted,
        accepted_digest=accepted * 7,
        settled=settled,
        settled_digest=settled * 7,
        failed=failed,
        failed_digest=failed * 7,
    )


def judge(counted: Totals, landed: Landed | None, before: Totals | None = None, **ledgers: int) -> SiteAudit:
    stands = {} if landed is None else {MINUTE: landed}
    return audit.judge(ledger(before or counted), ledger(counted, **ledgers), stands)


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_what_is_settled_and_stands_there_agrees(settled: int, failed: int) -> None:
    found = judge(totals(settled + failed, settled, failed), Landed(settled, settled, settled * 7))

    assert not found.differs
    assert {one.verdict for one in found.verdicts} == {"agrees"}
    assert (found.accepted, found.landed, found.failed, found.waiting) == (settled + failed, settled, failed, 0)


@pytest.mark.parametrize(
    ("landed", "missing", "doubled"),
    [
        (None, 10, 0),
        (Landed(9, 9, 63), 1, 0),
        (Landed(11, 10, 77), 0, 1),
        (Landed(11, 11, 77), 0, 1),
        (Landed(10, 9, 70), 1, 1),
        (Landed(10, 10, 71), 1, 0),
    ],
)
def test_a_row_too_few_or_too_many_is_named(landed: Landed | None, missing: int, doubled: int) -> None:
    found = judge(totals(10, 10), landed)

    assert (found.missing, found.doubled) == (missing, doubled)
    assert [(one.bucket, one.verdict) for one in found.verdicts] == [(MINUTE, "differs")]


def test_as_many_but_other_records_than_were_accepted_differ() -> None:
    swapped = replace(totals(10, 10), accepted_digest=71)

    assert judge(swapped, Landed(10, 10, 70)).differs


def test_what_is_in_flight_or_moves_is_open_and_no_difference() -> None:
    flying = judge(totals(10, 4), Landed(4, 4, 28))
    moving = judge(totals(10, 10), Landed(4, 4, 28), before=totals(10, 4))

    for found in (flying, moving):
        assert not found.differs
        assert {one.verdict for one in found.verdicts} == {"open"}


def test_records_that_are_in_flight_but_nowhere_in_redis_are_missing() -> None:
    found = judge(totals(10, 4), Landed(4, 4, 28), waiting=5)

    assert (found.waiting, found.missing) == (6, 1)


def test_minutes_before_the_epoch_are_never_wrong() -> None:
    late = ledger(totals(1, 1), epoch_ms=1_800_000_000_000)

    assert not audit.judge(late, late, {MINUTE: Landed(5, 5, 35)}).differs
    [right] = audit.judge(late, late, {MINUTE: Landed(1, 1, 7)}).verdicts
    assert right.verdict == "agrees"


def test_days_whose_minutes_are_forgotten_are_judged_whole() -> None:
    old = replace(ledger(totals(10, 10)), minutes={})

    found = audit.judge(old, old, {MINUTE: Landed(4, 4, 28), "202611221001": Landed(5, 5, 35)})

    assert (found.missing, [one.bucket for one in found.verdicts]) == (1, [DAY])


def test_rows_without_an_id_are_counted_apart() -> None:
    still = ledger(totals(1, 1))

    found = audit.judge(still, still, {MINUTE: Landed(1, 1, 7), "": Landed(9, 0, 0)})

    assert (found.differs, found.foreign) == (False, 9)


def test_json_names_sites_totals_and_what_differs() -> None:
    out = io.StringIO()

    audit.show({"shop": judge(totals(2, 2), Landed(1, 1, 7))}, "json", out)

    told = json.loads(out.getvalue())
    assert told["total"]["missing"] == told["sites"]["shop"]["missing"] == 1
    assert [one["bucket"] for one in told["sites"]["shop"]["differs"]] == [MINUTE]


def test_the_table_ends_with_the_verdict() -> None:
    out = io.StringIO()

    audit.show({"shop": judge(totals(2, 2), Landed(2, 2, 14))}, "table", out)

    assert out.getvalue().splitlines()[-1] == "audit: agrees"
