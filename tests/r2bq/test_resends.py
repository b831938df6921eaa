"""Resends: a beacon that a tracker sent twice is one row, whenever its two copies come."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oceanus import records
from oceanus.records import DAY_US
from oceanus.spool import Spool, connect, key
from r2bq import resends
from r2bq.drain import Drain
from tests.conftest import RedisProcess
from tests.r2bq.crossing import DAY, DRAINED, NAMING, NEXT_DAY, NOW_US, PARTITIONED, Crossing, OneBigQuery

MINUTE_US, HOUR_US = 60_000_000, 3_600_000_000


def named(number: int, *, cid: str, dt: str = DAY, received_us: int = NOW_US - 2 * MINUTE_US) -> bytes:
    """Return a record whose tracker has named it; its `url` is its number."""
    beacon = {"oid": "2", "sid": "a", "rad": "127.0.0.1", "evt": "e", "url": str(number)}
    eid = records.named("bizocean", cid)
    return records.encode({"v": 1, "eid": eid, "received": received_us, "dt": dt} | beacon)


@pytest.fixture
def cid() -> str:
    return secrets.token_hex(16)


def again(crossing: Crossing, spool: object) -> object:
    """Return the drain of the resends."""
    return crossing.drain(spool, source="resends")


def test_a_resend_whose_first_try_landed_is_counted_as_repeated(crossing, spool, cid):
    crossing.push(named(1, cid=cid))
    crossing.run(crossing.drain(spool))
    crossing.push(named(1, cid=cid), source="resends")

    crossing.run(again(crossing, spool))

    assert crossing.urls() == ["1"]
    assert crossing.client.hget(key("bizocean", "ledger"), "20261122r") == b"1"
    assert crossing.left() == DRAINED


def test_a_resend_whose_first_try_never_came_is_written(crossing, spool, cid):
    crossing.push(named(1, cid=cid), source="resends")

    crossing.run(again(crossing, spool))

    assert crossing.urls() == ["1"]
    assert crossing.left() == DRAINED


def test_copies_in_one_batch_count_once(crossing, spool, cid):
    crossing.push(*(named(number, cid=cid) for number in (1, 1, 1)), named(2, cid=cid[::-1]), source="resends")

    crossing.run(again(crossing, spool))

    assert crossing.urls() == ["1", "2"]
    assert crossing.client.hget(key("bizocean", "ledger"), "20261122r") == b"2"
    assert crossing.left() == DRAINED


def test_a_resend_that_is_too_young_waits(crossing, spool, cid):
    crossing.push(named(1, cid=cid, received_us=NOW_US - MINUTE_US + 1), source="resends")
    drain = again(crossing, spool)

    moved = drain.step()
    early = crossing.urls()
    crossing.now_us += 1
    crossing.clock.now += 2
    crossing.run(drain)

    assert (moved, early) == (False, [])
    assert crossing.urls() == ["1"]


def test_verify_judges_resends_as_ever(crossing, spool, cid):
    crossing.push(named(1, cid=cid, received_us=NOW_US - MINUTE_US + 1), source="resends")
    crossing.push(named(2, cid=cid[::-1]), named(2, cid=cid[::-1]), source="resends")

    crossing.run(crossing.drain(spool, source="resends", verify=True))

    assert crossing.urls() == ["2"]
    assert crossing.client.hget(key("bizocean", "ledger"), "20261122r") == b"1"
    assert crossing.client.llen(key("bizocean", "resends")) == 1


def test_a_young_resend_holds_up_no_older_one(crossing, spool, cid):
    crossing.push(named(1, cid=cid), named(2, cid=cid[::-1], received_us=NOW_US), source="resends")

    crossing.run(again(crossing, spool))

    assert crossing.urls() == ["1"]
    assert crossing.client.llen(key("bizocean", "resends")) == 1


@pytest.mark.parametrize("where", ["queue", "claim", "later"])
def test_a_resend_waits_while_its_first_try_is_on_its_way(crossing, spool, cid, where):
    crossing.push(named(1, cid=cid, received_us=NOW_US - 3 * MINUTE_US), source="queue" if where == "claim" else where)
    first = crossing.drain(spool, source="queue" if where == "claim" else where)
    if where == "claim":
        first.holder = first._register()
        spool.claim(first.holder, 500, 10**6)
    crossing.push(named(1, cid=cid), source="resends")
    drain = again(crossing, spool)

    moved = drain.step()
    early = crossing.urls()
    crossing.run(first)
    crossing.clock.now += 2
    crossing.run(drain)

    assert (moved, early) == (False, [])
    assert crossing.urls() == ["1"]
    assert crossing.left() == DRAINED


def test_a_resend_over_midnight_finds_its_first_try_in_the_table_of_the_day_before(daily, spool, cid):
    daily.push(named(1, cid=cid))
    daily.run(daily.drain(spool))
    daily.push(named(1, cid=cid, dt=NEXT_DAY), source="resends")

    daily.run(again(daily, spool))

    assert daily.urls() == ["1"]
    assert daily.left() == DRAINED


@pytest.mark.parametrize("days", [-1, 0, 1])
def test_a_first_try_that_comes_late_out_of_a_journal_finds_its_resend(daily, spool, cid, days):
    """The resend, which came at another time, has landed long ago; the first try was in a journal meanwhile."""
    daily.now_us = NOW_US + 3 * DAY_US
    resend = NOW_US + days * DAY_US - MINUTE_US
    daily.push(named(1, cid=cid, dt=records.time_text(resend), received_us=resend))
    daily.run(daily.drain(spool))
    daily.push(named(1, cid=cid), source="resends")

    daily.run(again(daily, spool))

    assert daily.urls() == ["1"]
    assert daily.left() == DRAINED


def test_a_first_try_that_was_refused_two_hours_after_it_came_is_found_among_the_failed(crossing, spool, cid):
    failed = crossing.source.naming.failed
    crossing.bigquery.tables[failed.path] = failed
    crossing.bigquery.refuses = lambda row: "bad" if row.get("url") == "1" else ""
    crossing.push(named(1, cid=cid))
    crossing.now_us = NOW_US + 2 * HOUR_US
    crossing.run(crossing.drain(spool))
    crossing.run(crossing.drain(spool, source="failed"))
    crossing.bigquery.refuses = lambda row: ""
    crossing.push(named(1, cid=cid, received_us=NOW_US - MINUTE_US), source="resends")

    crossing.run(again(crossing, spool))

    rows = crossing.bigquery.rows
    assert [path for path, some in rows.items() for _ in some] == [failed.path]
    assert crossing.left()["in_flight"] == (0, 0)


def test_a_resend_whose_first_try_was_refused_is_no_second_failed_record(crossing, spool, cid):
    failed = crossing.source.naming.failed
    crossing.bigquery.tables[failed.path] = failed
    crossing.bigquery.refuses = lambda row: "bad" if row.get("url") == "1" else ""
    crossing.push(named(1, cid=cid))
    crossing.run(crossing.drain(spool))
    crossing.run(crossing.drain(spool, source="failed"))
    crossing.push(named(1, cid=cid, received_us=NOW_US - MINUTE_US), source="resends")

    crossing.run(again(crossing, spool))

    assert len(crossing.bigquery.rows[failed.path]) == 1
    assert crossing.failed() == []
    assert crossing.left()["in_flight"] == (0, 0)


@pytest.mark.parametrize("where", ["queue", "claim"])
def test_a_resend_waits_for_a_first_try_that_stands_behind_a_younger_record(crossing, spool, cid, where):
    first_try = named(1, cid=cid, received_us=NOW_US - 3 * MINUTE_US)
    crossing.push(named(2, cid=cid[::-1], received_us=NOW_US), first_try)
    first = crossing.drain(spool)
    if where == "claim":
        first.holder = first._register()
        spool.claim(first.holder, 500, 10**6)
    crossing.push(named(1, cid=cid), source="resends")

    crossing.run(again(crossing, spool))
    crossing.run(first)

    assert crossing.urls() == ["1", "2"]


def test_a_resend_whose_first_try_was_refused_a_moment_ago_is_not_written(crossing, spool, cid):
    failed = crossing.source.naming.failed
    crossing.bigquery.tables[failed.path] = failed
    crossing.bigquery.refuses = lambda row: "bad" if row.get("url") == "1" else ""
    crossing.push(named(1, cid=cid))
    crossing.run(crossing.drain(spool))
    crossing.bigquery.refuses = lambda row: ""
    crossing.push(named(1, cid=cid, received_us=NOW_US - MINUTE_US), source="resends")

    crossing.run(again(crossing, spool))

    assert crossing.urls() == []
    assert len(crossing.failed()) == 1


def test_of_copies_that_cannot_be_rows_one_fails(crossing, spool, cid):
    unfit = records.encode(records.decode(named(1, cid=cid)) | {"jsn": "{"})
    crossing.push(unfit, unfit, source="resends")

    crossing.run(again(crossing, spool))

    assert len(crossing.failed()) == 1


CIDS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=12)


@given(CIDS, st.sets(st.sampled_from("abcd")))
def test_of_each_name_that_is_not_there_exactly_one_copy_is_kept_the_oldest(cids, there):
    claimed = [{"eid": cid} for cid in cids]

    places = resends.repeated(claimed, there, "eid")

    kept = [cid for place, cid in enumerate(cids) if place not in places]
    assert sorted(kept) == sorted(set(cids) - there)
    assert all(cid not in cids[place + 1 :] for place, cid in enumerate(cids) if place not in places)


@pytest.fixture
def elsewhere(own_redis: RedisProcess) -> Crossing:
    """The same site in another Redis, where it lived before."""
    return Crossing(own_redis.client(), PARTITIONED, OneBigQuery(NAMING.table(PARTITIONED, DAY)))


def both(crossing: Crossing, elsewhere: Crossing, spool: Spool, own_redis: RedisProcess) -> tuple[Drain, Drain]:
    """Return the drains of the resends in both Redis, which write to one BigQuery."""
    other = Spool(connect(own_redis.settings))
    elsewhere.bigquery = crossing.bigquery
    here = crossing.drain(spool, source="resends", elsewhere=[other])
    return here, elsewhere.drain(other, source="resends", elsewhere=[spool])


def test_a_resend_waits_for_a_first_try_that_lies_in_the_sites_old_redis(crossing, elsewhere, spool, own_redis, cid):
    elsewhere.push(named(1, cid=cid))
    crossing.push(named(1, cid=cid), source="resends")
    here, _ = both(crossing, elsewhere, spool, own_redis)

    early = here.step(), crossing.urls()
    elsewhere.run(elsewhere.drain(Spool(connect(own_redis.settings))))
    crossing.clock.now += 2
    crossing.run(here)

    assert early == (False, [])
    assert crossing.urls() == ["1"]
    assert crossing.client.hget(key("bizocean", "ledger"), "20261122r") == b"1"


def test_of_two_resends_in_two_redis_one_is_written(crossing, elsewhere, spool, own_redis, cid):
    """Each is claimed before it looks: while one is being judged the other waits."""
    crossing.push(named(1, cid=cid), source="resends")
    elsewhere.push(named(1, cid=cid), source="resends")
    here, there = both(crossing, elsewhere, spool, own_redis)
    crossing.bigquery.meanwhile["before write"] = lambda: waited.append(there.step())
    waited: list[bool] = []

    crossing.run(here)
    elsewhere.clock.now += 2
    elsewhere.run(there)

    assert waited == [False]
    assert crossing.urls() == ["1"]
    assert elsewhere.client.hget(key("bizocean", "ledger"), "20261122r") == b"1"


def test_a_resend_waits_while_another_redis_is_away(crossing, elsewhere, spool, own_redis, cid):
    crossing.push(named(1, cid=cid), source="resends")
    here, _ = both(crossing, elsewhere, spool, own_redis)
    own_redis.kill()

    away = here.step(), crossing.urls()
    own_redis.start()
    crossing.clock.now += 100
    crossing.run(here)

    assert away == (False, [])
    assert crossing.urls() == ["1"]
