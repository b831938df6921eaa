"""How the audit is told: what differs by name, what is not proven in words, and one last line that says it all."""

import io
import json

import pytest

from management import audit
from management.audit import Found
from management.status import Journal
from oceanus.audit import Alarm, SiteAudit, Verdict
from oceanus.ledger import Landed, Ledger, Totals

MINUTE = "202611221000"
EMPTY = Journal(records=0, bytes=0, age_seconds=None)
WAITING = Journal(records=12, bytes=9000, age_seconds=200.0)
GOOD = SiteAudit(accepted=2, landed=2)
BAD = SiteAudit(
    accepted=3,
    landed=1,
    waiting=1,
    missing=2,
    lost=1,
    verdicts=[
        Verdict(bucket=MINUTE, verdict="differs", counted=Totals(accepted=2, settled=2), landed=Landed(1, 1, 7)),
        Verdict(bucket="202611221001", verdict="open", counted=Totals(accepted=1), landed=Landed(0, 0, 0)),
    ],
)


def found(one: SiteAudit = GOOD, **changes: object) -> Found:
    parts: dict[str, object] = {"sites": {"shop": one}, "removed": {}, "alarms": [], "arms": EMPTY}
    return Found(**(parts | changes))


def table(one: Found) -> list[str]:
    out = io.StringIO()
    audit.show(one, "table", out)
    return out.getvalue().splitlines()


@pytest.mark.parametrize(
    ("one", "right", "last"),
    [
        (found(), True, "audit: agrees"),
        (found(arms=WAITING), True, "audit: agrees, but for 12 beacons, oldest 3 min in arms' journal"),
        (found(arms=None), True, "audit: agrees, as far as Redis has counted"),
        (found(BAD), False, "audit: differs"),
        (found(SiteAudit(troubles=["no"])), False, "audit: not proven"),
        (found(alarms=[Alarm("new")]), False, "audit: not proven"),
        (found(removed={"old": 2}), False, "audit: not proven"),
        (found(removed={"old": 0}), True, "audit: agrees"),
        (found(troubles=["no answer"]), False, "audit: not proven"),
    ],
)
def test_the_last_line_and_the_exit_code_say_how_it_went(one: Found, right: bool, last: str) -> None:
    assert one.is_right is right
    assert table(one)[-1] == last


def test_what_differs_is_named_below_the_table() -> None:
    assert table(found(BAD))[-3:-1] == [
        f"shop {MINUTE}: 2 settled, 1 rows of 1 ids: 1 missing, 0 doubled",
        "shop: 1 of 1 in flight are nowhere in Redis: missing",
    ]


def test_json_names_sites_totals_and_what_differs() -> None:
    out = io.StringIO()

    audit.show(found(BAD, removed={"old": 0}, alarms=[Alarm("new")], arms=WAITING), "json", out)

    told = json.loads(out.getvalue())
    assert told["total"]["missing"] == told["sites"]["shop"]["missing"] == 2
    assert told["total"]["repeated"] == 0
    assert [(one["bucket"], one["missing"]) for one in told["sites"]["shop"]["differs"]] == [(MINUTE, 1)]
    assert told["sites"]["shop"]["open"] == ["202611221001"]
    assert (told["removed"], told["alarms"], told["arms"]["journalled"]) == ({"old": 0}, ["new"], 12)


def test_remarks_are_a_line_for_each_thing_that_an_operator_has_to_know() -> None:
    one = found(SiteAudit(troubles=["no hash"]), removed={"old": 2, "older": 0}, alarms=[Alarm("new")], arms=None)

    assert audit.remarks(one, "sites.yaml") == [
        "shop: no hash",
        "old: 2 records wait, but sites.yaml does not declare it: nobody drains them",
        "alarm: new",
        "see `oceanus audit --help` for what to check before --acknowledge",
        "not proven: what arms has in its journal: arms did not answer, or nothing says where it is",
    ]
    assert audit.remarks(found(), "sites.yaml") == []
    assert audit.remarks(found(arms=WAITING), "") == [
        "not counted yet: 12 beacons, oldest 3 min in arms' journal, until Redis takes them"
    ]


def test_the_last_days_are_those_with_records() -> None:
    days = {day: Totals(accepted=1) for day in ("20261101", "20261122", "20261120")}
    known = Ledger(days=days, minutes={}, whole=Totals(), waiting=0, epoch_ms=1)

    assert audit.last_days(2)(known) == ["20261120", "20261122"]
    assert audit.last_days(None)(known) == ["20261101", "20261120", "20261122"]
