"""What a retry would send, judged without Redis or BigQuery."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arms.kept import Kept
from management.again import Judge, Ready
from management.failed import Row
from oceanus import records, sites
from oceanus.ledger import ACCEPTED, FAILED
from oceanus.records import DAY_US
from oceanus.tables import Naming

FIELDS = """
shapes:
  search:
    fields:
      dt: {from: clock, type: TIMESTAMP, mode: REQUIRED}
      q: {from: query, rule: {type: string, required: true}}
      hits: {from: query, normal: [integer], rule: {type: integer}, type: INT64}
sites:
  search: {method: swallow, shape: search, batch: {rows: 50, seconds: 1}, table: {expiry_days: 30}}
  daily: {method: swallow, shape: search, batch: {rows: 50, seconds: 1}, table: {form: daily}}
  quiet: {method: swallow, shape: search, batch: {rows: 5, seconds: 1}, privacy: {policy: drop, consent: cookies}}
"""
NOW_US = 1_795_000_000_000_000
THEN_US = NOW_US - 5 * DAY_US
FID, EID = records.mint(THEN_US), records.mint(THEN_US - 1)
DT = records.time_text(THEN_US)


def row(stage: str, raw: str, site: str = "search", fid: str = FID) -> Row:
    return Row(fid=fid, dt_us=THEN_US, site=site, stage=stage, reason="r", eid=None, raw=raw)


def rejected(sent: str, route: str = "/swallow/search", **more: object) -> str:
    return Kept(route=route, sent=sent, address="::1", agent="", **more).text()


def refused(**members: object) -> str:
    return records.encode({"v": 1, "eid": EID, "dt": DT, "q": "dog"} | members).decode()


def judge(one: Row, epoch_us: int | None = 0) -> Ready | str:
    epoch_ms = None if epoch_us is None else epoch_us // 1000
    return Judge(sites.parse(FIELDS), Naming("beacons"), epoch_ms, NOW_US).judge(one)


def test_a_rejected_beacon_is_a_record_of_its_receipt_and_of_its_failed_id():
    ready = judge(row("rules", rejected("q=dog&hits=3")))

    record = {"v": 1, "eid": FID, "dt": DT, "q": "dog", "hits": 3}
    assert (ready.eid, ready.dt_us, ready.path, ready.timed) == (FID, THEN_US, "beacons.search", True)
    assert records.decode(ready.retry.record) == record
    assert (ready.retry.is_new, ready.retry.source) == (True, "queue")
    assert ready.retry.count.line() == [records.minute(DT), ACCEPTED, 1, records.digest(FID)]


def test_a_rejected_beacon_that_its_tracker_has_named_keeps_its_name_and_is_judged_like_a_resend():
    cid = "0123456789abcdef0123456789abcdef"

    ready = judge(row("rules", rejected(f"q=dog&cid={cid}")))

    eid = records.named("search", cid)
    assert (ready.eid, ready.retry.source) == (eid, "resends")
    assert records.decode(ready.retry.record) == {"v": 1, "eid": eid, "received": THEN_US, "dt": DT, "q": "dog"}
    assert ready.retry.count.line() == [records.minute(DT), ACCEPTED, 1, records.digest(eid)]


def test_a_rejected_beacon_has_the_time_that_its_trusted_caller_gave():
    ready = judge(row("rules", rejected("q=dog", route="/swallow/daily", time="2026-11-01T00:00:00Z"), site="daily"))

    assert (ready.path, ready.timed) == ("beacons.daily_20261101", False)


def test_a_refused_record_goes_back_letter_by_letter_and_is_not_failed_any_more():
    text = refused().replace(",", ", ")

    ready = judge(row("write", text))

    assert (ready.eid, ready.retry.record, ready.retry.is_new) == (EID, text.encode(), False)
    assert ready.retry.count.line() == [records.minute(DT), FAILED, -1, -records.digest(EID)]


@pytest.mark.parametrize("epoch_us", [None, THEN_US + 1000])
def test_a_refusal_that_this_redis_never_counted_is_counted_as_accepted(epoch_us):
    assert judge(row("write", refused()), epoch_us).retry.count.line()[1:3] == [ACCEPTED, 1]


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (row("rules", "{}", site="gone"), "sites.yaml does not declare the site gone"),
        (row("rules", "{}", fid="1"), "its id (fid) is none of ours"),
        (row("rules", "{}"), "it counts beacons of which no text is kept"),
        (row("rules", rejected("q=" + "x" * 9000)), "it was cut at 8 KiB"),
        (row("rules", rejected("q=dog", cleaned=True)), "privacy has taken something out of it"),
        (row("rules", rejected("q=dog", refused=True)), "its sender was refused, and what would prove it is not kept"),
        (
            row("rules", rejected("q=dog", route="/pirate/search")),
            "it was sent to /pirate/search, but search is a site of method swallow",
        ),
        (row("rules", rejected("hits=many")), "still rejected: q: required field; hits: must be a whole number"),
        (row("rules", rejected("q=%ff")), "still rejected: q: is not UTF-8"),
        (
            row("rules", rejected("q=dog&cookies=no", route="/swallow/quiet"), site="quiet"),
            "its visitor objects, and the site keeps nothing then",
        ),
        (row("write", "\\xff"), "its text is not JSON"),
        (row("write", refused(v=9)), "its text has format version 9, and this release reads 1"),
        (row("write", refused(hits="3")), "still refused: hits: is no whole number of 64 bits"),
        (
            row("write", refused(dt=records.time_text(NOW_US - 31 * DAY_US))),
            "it is older than the 30 days that its table keeps",
        ),
    ],
)
def test_what_cannot_be_sent_is_told_in_a_sentence(one, why):
    found = judge(one)

    assert isinstance(found, str)
    assert found.startswith(why) or set(found.split("; ")) == set(why.split("; "))


@settings(deadline=None)
@given(st.sampled_from(["rules", "write", "other", ""]), st.text(), st.text())
def test_no_text_at_all_is_sent_by_mistake_or_ends_the_run(stage, raw, site):
    assert isinstance(judge(row(stage, raw, site="search")), str)
    assert isinstance(judge(row(stage, raw, site=site)), str)
