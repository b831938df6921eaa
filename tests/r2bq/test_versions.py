"""Releases beside each other: what one wrote, the next lands; what a newer one wrote, an older one leaves to it."""

import json

import orjson
import pytest

from oceanus import records, sites
from oceanus.records import Failed
from oceanus.spool import key
from tests.r2bq.crossing import DAY, DRAINED, NAMING, NEXT_DAY, Crossing, OneBigQuery, record
from tests.r2bq.leave import RELEASES

SAMPLE = sites.load(str(sites.SAMPLE))


def newer(number: int) -> bytes:
    return orjson.dumps(orjson.loads(record(number)) | {"v": records.FORMAT + 1, "shape": "not known here"})


@pytest.mark.parametrize("release", sorted(RELEASES.glob("*.json")), ids=lambda path: path.stem)
def test_what_a_release_left_in_redis_is_landed_by_this_one(release, redis_server, spool):
    """The files hold what the release itself has pushed, and are never changed (see tests/r2bq/leave.py)."""
    left = json.loads(release.read_text(encoding="utf-8"))
    tables = [NAMING.table(SAMPLE[site], DAY) for site in left]
    bigquery = OneBigQuery(*tables, NAMING.failed)
    for site, lists in left.items():
        crossing = Crossing(redis_server.client(), SAMPLE[site], bigquery, NAMING)
        for source, texts in lists.items():
            crossing.push(*(text.encode() for text in texts), source=source)
            crossing.now_us = 1_795_000_000_000_000 + 7_200_000_000  # resends are ripe
            crossing.run(crossing.drain(spool, source=source))
        assert crossing.left() == DRAINED

    landed = {str(row.get("eid") or row.get("fid")) for rows in bigquery.rows.values() for row in rows}
    pushed = [json.loads(text) for lists in left.values() for texts in lists.values() for text in texts]
    assert landed == {one.get("fid") or one["eid"] for one in pushed}


def test_records_of_a_newer_release_wait_for_it_and_hold_up_nobody(crossing, spool, caplog):
    of_another = [newer(1), newer(3)]
    crossing.push(of_another[0], record(2), of_another[1], record(4, NEXT_DAY))

    crossing.run(crossing.drain(spool))
    crossing.run(crossing.drain(spool, source="later"))

    assert crossing.urls() == ["2", "4"]
    assert sorted(crossing.client.lrange(key("bizocean", "later"), 0, -1)) == sorted(of_another)
    assert crossing.left()["failed"] == []
    assert "has format version 2, and this release reads 1: it waits for a newer r2bq" in caplog.text


def test_what_waits_for_a_newer_release_is_asked_for_once_a_second_and_told_once_a_minute(crossing, spool, caplog):
    crossing.push(*map(newer, range(9)), source="later")
    drain = crossing.drain(spool, source="later")

    for _ in range(5):
        assert drain.step() is False
        assert drain.waits_until == crossing.clock() + 1.0
        crossing.clock.now += 1.0

    assert caplog.text.count("waits for a newer r2bq") == 1


@pytest.mark.parametrize("source", ["resends", "failed"])
def test_a_newer_resend_or_failed_record_waits_in_its_list(crossing, spool, source):
    text = (
        newer(1)
        if source == "resends"
        else Failed(fid=records.mint(), dt="2026-11-22 10:00:00", site="bizocean", stage="write", reason="x", raw="y")
        .encode()
        .replace(b'"v":1', b'"v":2')
    )
    crossing.push(text, source=source)
    crossing.now_us += 7_200_000_000
    drain = crossing.drain(spool, source=source)

    assert [drain.step() for _ in range(3)] == [False] * 3
    assert crossing.client.lrange(key("bizocean", source), 0, -1) == [text]


def test_a_claim_of_a_newer_release_that_died_is_left_to_another_one_of_it(crossing, spool, monkeypatch):
    """Its rows may have landed, and only who can read them can count them."""
    with monkeypatch.context() as newer_release:
        newer_release.setattr(records, "FORMAT", 2)
        crossing.push(record(1).replace(b'"v":1', b'"v":2'))
        crossing.bigquery.faults["write"] = ["lost"]
        crossing.drain(spool).step()
    crossing.die("w1")

    crossing.drain(spool).adopt("w1")

    assert crossing.left()["in_flight"][0] == 1
    assert len(crossing.left()["claims"]) == 1
    crossing.die("w1", "w2")
    with monkeypatch.context() as newer_release:
        newer_release.setattr(records, "FORMAT", 2)
        other = crossing.drain(spool)
        other.adopt("w1")
        crossing.run(other)
    assert crossing.urls() == ["1"]
    assert crossing.left() == DRAINED
