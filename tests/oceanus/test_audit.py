"""The audit's verdicts: what stands still and agrees is proven, what differs is named, what moves is left open."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oceanus import audit, tables
from oceanus.audit import Alarm, SiteAudit, Verdict
from oceanus.ledger import Landed, Ledger, Totals, added

MINUTE, DAY = "202611221000", "20261122"
EPOCH_MS = 1_795_000_000_000  # 2026-11-18


def ledger(counted: Totals, waiting: int | None = None, minute: str = MINUTE, epoch_ms: int = EPOCH_MS) -> Ledger:
    in_flight = counted.in_flight if waiting is None else waiting
    return Ledger(
        days={minute[:8]: counted}, minutes={minute: counted}, whole=counted, waiting=in_flight, epoch_ms=epoch_ms
    )


def totals(accepted: int, settled: int, failed: int = 0, repeated: int = 0) -> Totals:
    return Totals(
        repeated=repeated,
        repeated_digest=repeated * 7,
        accepted=accepted,
        accepted_digest=accepted * 7,
        settled=settled,
        settled_digest=settled * 7,
        failed=failed,
        failed_digest=failed * 7,
    )


def judge(counted: Totals, landed: Landed | None, before: Totals | None = None, **ledgers: int) -> SiteAudit:
    stands = {} if landed is None else {MINUTE: landed}
    return audit.judge(ledger(before or counted), ledger(counted, **ledgers), stands, {DAY})


def verdicts(found: SiteAudit) -> list[tuple[str, str]]:
    return [(one.bucket, one.verdict) for one in found.verdicts]


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000))
def test_what_is_settled_and_stands_there_agrees(settled: int, failed: int, repeated: int) -> None:
    accepted = settled + failed + repeated

    found = judge(totals(accepted, settled, failed, repeated), Landed(settled, settled, settled * 7))

    assert not found.differs
    assert {one.verdict for one in found.verdicts} == {"agrees"}
    counts = (found.accepted, found.landed, found.failed, found.repeated, found.waiting)
    assert counts == (accepted, settled, failed, repeated, 0)


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
    assert verdicts(found) == [(DAY, "partly"), (MINUTE, "differs")]


def test_as_many_but_other_records_than_were_accepted_differ() -> None:
    swapped = replace(totals(10, 10), accepted_digest=71)

    assert judge(swapped, Landed(10, 10, 70)).differs


def test_what_is_in_flight_or_moves_is_open_and_no_difference() -> None:
    flying = judge(totals(10, 4), Landed(4, 4, 28))
    moving = judge(totals(10, 10), Landed(4, 4, 28), before=totals(10, 4))

    for found in (flying, moving):
        assert not found.differs
        assert verdicts(found) == [(DAY, "partly"), (MINUTE, "open")]


def test_records_that_are_in_flight_but_nowhere_in_redis_are_missing() -> None:
    found = judge(totals(10, 4), Landed(4, 4, 28), waiting=5)

    assert (found.waiting, found.missing) == (6, 1)


def test_minutes_before_the_epoch_are_never_wrong() -> None:
    late = ledger(totals(1, 1), epoch_ms=1_800_000_000_000)

    assert not audit.judge(late, late, {MINUTE: Landed(5, 5, 35)}, {DAY}).differs
    [right] = audit.judge(late, late, {MINUTE: Landed(1, 1, 7)}, {DAY}).verdicts
    assert right.verdict == "agrees"


@pytest.mark.parametrize(
    ("landed", "verdict"),
    [(Landed(5, 5, 35), "before epoch"), (Landed(1, 1, 7), "differs"), (Landed(5, 4, 35), "differs")],
)
def test_of_its_own_minute_a_new_redis_excuses_only_rows_of_the_older_one(landed: Landed, verdict: str) -> None:
    own = ledger(totals(2, 2), epoch_ms=1_795_341_630_000)  # 2026-11-22 10:00:30

    found = audit.judge(own, own, {MINUTE: landed}, {DAY})

    assert verdicts(found) == [(DAY, "partly"), (MINUTE, verdict)]


def test_days_whose_minutes_are_forgotten_are_judged_whole() -> None:
    old = replace(ledger(totals(10, 10)), minutes={})

    found = audit.judge(old, old, {MINUTE: Landed(4, 4, 28), "202611221001": Landed(5, 5, 35)}, {DAY})

    assert (found.missing, verdicts(found)) == (1, [(DAY, "differs")])


def test_rows_without_an_id_are_counted_apart() -> None:
    still = ledger(totals(1, 1))

    found = audit.judge(still, still, {MINUTE: Landed(1, 1, 7), "": Landed(9, 0, 0)}, {DAY})

    assert (found.differs, found.foreign) == (False, 9)


def test_a_row_moved_to_another_minute_of_its_day_is_missing_there_and_too_many_here() -> None:
    found = judge(totals(2, 2), Landed(1, 1, 7))
    still = ledger(totals(2, 2))

    moved = audit.judge(still, still, {MINUTE: Landed(1, 1, 7), "202611221001": Landed(1, 1, 7)}, {DAY})

    assert (found.missing, found.doubled) == (1, 0)
    assert (moved.missing, moved.doubled) == (1, 1)
    assert verdicts(moved) == [(DAY, "partly"), (MINUTE, "differs"), ("202611221001", "differs")]


def test_a_minute_that_came_back_in_part_is_judged_with_its_day() -> None:
    whole, part = totals(10, 10), totals(1, 1)
    late = replace(ledger(whole), minutes={MINUTE: part})

    found = audit.judge(late, late, {MINUTE: Landed(4, 4, 28), "202611221001": Landed(6, 6, 42)}, {DAY})

    assert verdicts(found) == [(DAY, "agrees")]


def test_more_ends_than_accepted_beacons_differ() -> None:
    found = judge(totals(9, 10), Landed(10, 10, 70))

    assert (found.missing, found.doubled) == (0, 1)


def test_a_retried_failed_record_is_in_flight_again_and_then_settled() -> None:
    steps = [(totals(3, 2, 1), Landed(2, 2, 14)), (totals(3, 2), Landed(2, 2, 14)), (totals(3, 3), Landed(3, 3, 21))]

    found = [judge(counted, landed) for counted, landed in steps]

    assert [one.differs for one in found] == [False] * 3
    assert [(one.failed, one.waiting) for one in found] == [(1, 0), (0, 1), (0, 0)]


def test_a_day_that_its_table_keeps_no_more_is_told_apart() -> None:
    still = ledger(totals(10, 10))

    gone = audit.judge(still, still, {}, {DAY}, last_expired=DAY)
    kept = audit.judge(still, still, {}, {DAY}, last_expired="20261121")

    assert (gone.missing, gone.expired, verdicts(gone)) == (0, 10, [(DAY, "expired")])
    assert (kept.missing, kept.expired) == (10, 0)
    assert list(audit.rows("shop", gone, 1, EPOCH_MS)) == []


def test_a_day_that_nobody_asked_for_is_not_judged() -> None:
    still = ledger(totals(10, 10))

    assert audit.judge(still, still, {}, set()).verdicts == []


def test_a_damaged_ledger_is_a_trouble_and_accuses_nobody() -> None:
    hurt = replace(ledger(totals(0, 10), waiting=0), damaged={DAY: "20261122a holds no number"})

    found = audit.judge(hurt, hurt, {MINUTE: Landed(10, 10, 70)}, {DAY})

    assert (found.differs, verdicts(found)) == (False, [(DAY, "damaged")])
    assert found.troubles == ["20261122a holds no number: 20261122 cannot be judged"]


def test_rows_of_the_audit_are_rows_of_its_table() -> None:
    table = tables.Naming("d").audit
    found = judge(totals(3, 1), Landed(1, 1, 7), waiting=1)
    written = [*audit.rows("shop", found, 1, EPOCH_MS), audit.epoch_row(1, EPOCH_MS), audit.epoch_row(1, None)]

    spans = [(row["span"], row["verdict"], row.get("missing")) for row in written]
    assert spans == [
        ("day", "partly", 0),
        ("minute", "open", 0),
        ("site", "differs", 1),
        ("epoch", "acknowledged", None),
        ("epoch", "acknowledged", None),
    ]
    assert {name for row in written for name in row} == {column.name for column in table.columns}
    assert {row["verdict"] for row in written} <= set(tables.VERDICTS)


# --- alarms


@pytest.mark.parametrize(
    ("epoch_ms", "known"),
    [(None, None), (EPOCH_MS, None), (EPOCH_MS, (None,)), (None, (None,)), (EPOCH_MS, (audit.epoch_text(EPOCH_MS),))],
)
def test_the_first_epoch_and_the_acknowledged_one_are_no_alarm(
    epoch_ms: int | None, known: tuple[str | None] | None
) -> None:
    assert audit.alarms({}, epoch_ms, known) == []


@pytest.mark.parametrize(("epoch_ms", "told"), [(EPOCH_MS + 1, "it counts since 2026-"), (None, "nothing yet")])
def test_another_epoch_and_none_where_there_was_one_are_an_alarm(epoch_ms: int | None, told: str) -> None:
    [found] = audit.alarms({}, epoch_ms, (audit.epoch_text(EPOCH_MS),))

    assert told in found.sentence


def test_each_gap_is_an_alarm_with_its_site_and_time() -> None:
    found = audit.alarms({"gap:shop": str(EPOCH_MS), "gap:odd": "x"}, EPOCH_MS, None)

    assert [(one.name, one.value) for one in found] == [("gap:shop", str(EPOCH_MS)), ("gap:odd", "x")]
    assert found[0].sentence.startswith("shop: Redis had forgotten pushes")
    assert audit.epoch_text(EPOCH_MS) in found[0].sentence
    assert isinstance(found[0], Alarm)


# --- whole histories


@dataclass(frozen=True)
class Fate:
    """What became of one accepted beacon, and of its row."""

    minute: str
    end: str  # settled, failed, flying
    resends: int = 0
    row: str = "there"  # there, gone, twice


def minute_of(number: int) -> str:
    """Return one of four minutes: two of a day, the last before and the first after midnight."""
    return ("202611221000", "202611221001", "202611222359", "202611230000")[number]


def fates(rows: list[str]) -> st.SearchStrategy[list[Fate]]:
    """Return histories: only a settled beacon can be sent again, or have a row that is gone or there twice."""
    minutes = st.integers(0, 3).map(minute_of)
    settled = st.builds(Fate, minutes, st.just("settled"), st.integers(0, 2), st.sampled_from(rows))
    others = st.builds(Fate, minutes, st.sampled_from(["failed", "flying"]))
    return st.lists(settled | others, max_size=30)


def history(every: list[Fate], forgotten: bool) -> tuple[Ledger, dict[str, Landed]]:
    """Return what Redis and BigQuery count of beacons whose digests are powers of two."""
    counts: dict[str, Counter[str]] = {minute_of(number): Counter() for number in range(4)}
    rows: dict[str, list[int]] = {}
    for number, fate in enumerate(every):
        kinds = ["accepted", *([fate.end] if fate.end != "flying" else []), *["accepted", "repeated"] * fate.resends]
        for kind in kinds:
            counts[fate.minute][kind] += 1
            counts[fate.minute][f"{kind}_digest"] += 2**number
        if fate.end == "settled":
            times = {"there": 1, "gone": 0, "twice": 2}[fate.row]
            rows.setdefault(fate.minute, []).extend([2**number] * times)
    minutes = {name: Totals(**counted) for name, counted in counts.items() if counted}
    names = {name[:8] for name in minutes}
    days = {day: added(one for name, one in minutes.items() if name.startswith(day)) for day in names}
    whole = added(days.values())
    kept = {} if forgotten else minutes
    counted = Ledger(days=days, minutes=kept, whole=whole, waiting=whole.in_flight, epoch_ms=EPOCH_MS)
    return counted, {name: Landed(len(one), len(set(one)), sum(one)) for name, one in rows.items()}


def judged(every: list[Fate], forgotten: bool) -> SiteAudit:
    counted, landed = history(every, forgotten)
    return audit.judge(counted, counted, landed, counted.days)


@given(fates(["there"]), st.booleans())
def test_an_honest_history_is_never_accused(every: list[Fate], forgotten: bool) -> None:
    found = judged(every, forgotten)

    assert (found.missing, found.doubled, found.lost) == (0, 0, 0)
    assert {one.verdict for one in found.verdicts} <= {"agrees", "open", "partly"}
    assert found.accepted == found.landed + found.failed + found.repeated + found.waiting


@given(fates(["there", "gone", "twice"]), st.booleans())
def test_exactly_the_losses_and_doubles_outside_of_open_buckets_are_found(every: list[Fate], forgotten: bool) -> None:
    bucket: Callable[[Fate], str] = (lambda fate: fate.minute[:8]) if forgotten else (lambda fate: fate.minute)
    opened = {bucket(fate) for fate in every if fate.end == "flying"}
    hurt = Counter((bucket(fate), fate.row) for fate in every if fate.row != "there" and bucket(fate) not in opened)

    found = judged(every, forgotten)

    named = [one for one in found.verdicts if one.verdict == "differs"]
    assert {one.bucket for one in named} == {name for name, _ in hurt}
    assert {(one.bucket, one.missing, one.doubled) for one in named} == {
        (name, hurt[name, "gone"], hurt[name, "twice"]) for name, _ in hurt
    }
    assert {one.bucket for one in found.verdicts if one.verdict == "open"} == opened


@given(fates(["there"]), fates(["there"]))
def test_what_moved_while_bigquery_was_asked_is_open(every: list[Fate], more: list[Fate]) -> None:
    before, _ = history(every, False)
    after, landed = history([*every, *more], False)

    found = audit.judge(before, after, landed, after.days)

    assert not found.differs
    assert {one.bucket for one in found.verdicts if one.verdict == "open"} >= {one.minute for one in more}
    assert all(isinstance(one, Verdict) for one in found.verdicts)
