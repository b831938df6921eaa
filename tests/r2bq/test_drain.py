"""The drain on a real Redis: each record is one row, whatever is killed, lost, late or refused on the way.

Most tests run it against a BigQuery of one class, whose appends are atomic and whose faults are scripted; those where
the behaviour of BigQuery itself counts run it against the local one.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import orjson
import pytest

from oceanus import records, sites
from oceanus import spool as spools
from oceanus import warehouse as warehouses
from oceanus.errors import (
    OffsetTakenError,
    RowsRefusedError,
    SpoolUnclearError,
    StreamGoneError,
    WarehouseBusyError,
    WarehouseUnclearError,
)
from oceanus.records import Failed
from oceanus.spool import Spool, key
from oceanus.tables import Column, Naming, Row, Table
from r2bq.drain import PATIENT
from r2bq.patience import BEAT_SECONDS
from r2bq.standing import Warehouse
from r2bq.troubles import MISSING_SECONDS, MOST_SECONDS
from tests.r2bq.crossing import (
    DAILY,
    DAY,
    DRAINED,
    NAMING,
    NEXT_DAY,
    PARTITIONED,
    Crossing,
    Fate,
    Fated,
    KilledError,
    OneBigQuery,
    record,
)

# ---------------------------------------------------------------------------------------------------------- one batch


def test_each_record_is_one_row_and_nothing_is_left(crossing, spool):
    crossing.push(record(1), record(2, NEXT_DAY), record(3))
    drain = crossing.drain(spool)

    crossing.run(drain)

    assert crossing.urls() == ["1", "2", "3"]
    assert crossing.left() == DRAINED
    assert not drain.holds


def test_an_empty_list_moves_nothing(crossing, spool):
    assert crossing.drain(spool).step() is False


def test_a_batch_goes_on_behind_the_last_one_on_the_same_stream(crossing, spool):
    drain = crossing.drain(spool)
    for numbers in ((1, 2), (3,)):
        crossing.push(*map(record, numbers))
        crossing.run(drain)

    assert crossing.bigquery.appends == [("S0", 0, 2), ("S0", 2, 1)]


def test_records_over_midnight_go_to_the_tables_of_their_days(daily, spool):
    daily.push(record(1), record(2, NEXT_DAY), record(3), record(4, NEXT_DAY))

    daily.run(daily.drain(spool))

    assert {path: [row["url"] for row in rows] for path, rows in daily.bigquery.rows.items()} == {
        "beacons.skj_20261122": ["3", "1"],
        "beacons.skj_20261123": ["4", "2"],
    }
    assert daily.left() == DRAINED


def test_a_day_of_the_past_that_nobody_made_gets_its_table_from_the_plan(daily, spool):
    daily.push(record(1, "2015-05-17 10:05:03"))

    daily.run(daily.drain(spool))

    assert daily.bigquery.tables == {"beacons.skj_20150517": NAMING.table(DAILY, "2015-05-17")}
    assert daily.urls() == ["1"]


def test_a_backlog_larger_than_one_append_goes_in_appends_that_fit_the_oldest_first(crossing, spool):
    crossing.push(*(record(number, tit="x" * 500) for number in range(40)))
    size = len(record(39, tit="x" * 500))

    crossing.run(crossing.drain(spool, max_bytes=10 * size))

    assert crossing.bigquery.appends == [("S0", offset, 10) for offset in (0, 10, 20, 30)]
    assert [row["url"] for row in crossing.bigquery.rows["beacons.bizocean"][:10]] == [str(n) for n in range(9, -1, -1)]
    assert crossing.left() == DRAINED


def test_a_backlog_of_many_chunks_goes_in_one_append(crossing, spool):
    crossing.push(*map(record, range(1200)))

    crossing.run(crossing.drain(spool))

    assert crossing.bigquery.appends == [("S0", 0, 1200)]
    assert crossing.left() == DRAINED


def test_a_batch_takes_four_scripts_however_large_it_is(crossing, spool, redis_client):
    drain = crossing.drain(spool)
    crossing.push(record(0))
    crossing.run(drain)
    scripts = []
    for numbers in (range(1, 11), range(11, 3011)):
        crossing.push(*map(record, numbers))
        redis_client.config_resetstat()
        crossing.run(drain)
        scripts.append(redis_client.info("commandstats")["cmdstat_eval"]["calls"])

    assert scripts == [4, 4]  # claim, assign, settle, and a claim that finds nothing
    assert [rows for _, _, rows in crossing.bigquery.appends] == [1, 10, 3000]


def test_a_record_larger_than_an_append_goes_alone(crossing, spool):
    crossing.push(record(1, tit="x" * 500), record(2), record(3))

    crossing.run(crossing.drain(spool, max_bytes=300))

    assert crossing.urls() == ["1", "2", "3"]


# ------------------------------------------------------------------------------------------------------ what is unclear


def test_an_unclear_append_that_had_landed_is_settled_by_already_exists(crossing, spool):
    drain = crossing.drain(spool)
    crossing.push(record(0))
    crossing.run(drain)
    crossing.push(record(1), record(2))
    crossing.bigquery.faults["write"] = ["lost"]

    first = drain.step()
    waits = drain.waits_until - crossing.clock.now
    crossing.run(drain)

    assert first is False
    assert 1 <= waits <= 1.5
    assert crossing.bigquery.appends == [("S0", 0, 1), ("S0", 1, 2), ("S0", 1, 2)]
    assert not crossing.bigquery.streams["S0"].finalised
    assert crossing.urls() == ["0", "1", "2"]
    assert crossing.left() == DRAINED


@pytest.mark.parametrize("fault", [WarehouseUnclearError("no answer"), WarehouseBusyError("later")])
def test_an_append_that_did_not_land_is_repeated_at_the_same_offset(crossing, spool, fault):
    drain = crossing.drain(spool)
    crossing.push(record(0))
    crossing.run(drain)
    crossing.push(record(1))
    crossing.bigquery.faults["write"] = [fault, fault]

    moved = [drain.step() for _ in range(4)]

    assert moved == [False, False, True, False]
    assert crossing.bigquery.appends == [("S0", 0, 1)] + [("S0", 1, 1)] * 3
    assert crossing.urls() == ["0", "1"]
    assert crossing.left() == DRAINED


def test_trouble_waits_longer_each_time_up_to_a_minute_and_not_after_success(crossing, spool):
    crossing.push(record(1))
    crossing.bigquery.faults["write"] = [WarehouseBusyError("later")] * 12
    drain = crossing.drain(spool)

    waits = []
    for _ in range(12):
        drain.step()
        waits.append(drain.waits_until - crossing.clock.now)
    crossing.run(drain)
    crossing.push(record(2))
    crossing.bigquery.faults["write"] = [WarehouseBusyError("later")]
    drain.step()

    assert all(2**n <= wait <= 1.5 * 2**n for n, wait in enumerate(waits[:6]))
    assert all(MOST_SECONDS <= wait <= 1.5 * MOST_SECONDS for wait in waits[6:])
    assert drain.waits_until - crossing.clock.now <= 1.5


def test_already_exists_on_a_first_try_is_no_proof_and_recovers(crossing, spool):
    crossing.push(record(1))
    crossing.bigquery.faults["write"] = [OffsetTakenError("foreign rows")]

    crossing.run(crossing.drain(spool))

    assert crossing.bigquery.appends == [("S0", 0, 1), ("S1", 0, 1)]
    assert crossing.bigquery.streams["S0"].finalised
    assert crossing.urls() == ["1"]
    assert crossing.left() == DRAINED


def test_a_stream_that_is_gone_is_left_for_a_new_one(crossing, spool):
    drain = crossing.drain(spool)
    crossing.push(record(1))
    crossing.run(drain)
    crossing.bigquery.streams.pop("S0")
    crossing.push(record(2))

    crossing.run(drain)

    assert crossing.urls() == ["1", "2"]
    assert crossing.left() == DRAINED


def test_rows_that_landed_on_a_stream_nobody_knows_any_more_are_looked_up(crossing, spool):
    crossing.push(record(1), record(2))
    crossing.bigquery.faults["write"] = ["lost"]
    drain = crossing.drain(spool)
    drain.step()
    crossing.bigquery.streams.clear()

    crossing.run(drain)

    assert crossing.urls() == ["1", "2"]
    assert crossing.left() == DRAINED


def test_a_recovery_without_an_answer_from_finalize_moves_nothing(crossing, spool):
    crossing.push(record(1))
    crossing.bigquery.faults["write"] = [StreamGoneError("broken")]
    crossing.bigquery.faults["finalize"] = ["lost"]
    drain = crossing.drain(spool)

    moved = drain.step()

    assert moved is False
    assert crossing.left() == DRAINED | {
        "claims": ["oceanus:{bizocean}:claim:w1"],
        "in_flight": (1, records.digest(orjson.loads(record_of(crossing))["eid"])),
    }
    crossing.run(drain)
    assert crossing.urls() == ["1"]


def record_of(crossing: Crossing) -> bytes:
    """Return the one record that is claimed."""
    [text] = crossing.client.lrange("oceanus:{bizocean}:claim:w1", 0, -1)
    return text


def test_a_slow_append_shows_signs_of_life(crossing, redis_server):
    seen = threading.Event()
    crossing.push(record(1))
    crossing.bigquery.meanwhile["before write"] = lambda: seen.wait(10)

    class Watched(Spool):
        def beat(self, holder: spools.Holder) -> None:
            super().beat(holder)
            seen.set()

    crossing.run(crossing.drain(Watched(spools.connect(redis_server.settings))))

    assert seen.is_set()
    assert crossing.left() == DRAINED


def test_a_drain_that_is_never_idle_shows_signs_of_life_by_itself(crossing, spool):
    drain = crossing.drain(spool)
    crossing.push(record(1))
    drain.step()
    crossing.die("w1")
    crossing.clock.now += BEAT_SECONDS
    crossing.push(record(2))

    drain.step()

    assert spool.lapsed([crossing.place]) == [[]]


def test_an_append_under_way_is_not_sent_again_because_redis_gives_no_answer(crossing, redis_server):
    asked = threading.Event()
    crossing.push(record(1))
    crossing.bigquery.meanwhile["before write"] = lambda: asked.wait(10)

    class Silent(Spool):
        def beat(self, holder: spools.Holder) -> None:
            asked.set()
            raise SpoolUnclearError("no answer")

    drain = crossing.drain(Silent(spools.connect(redis_server.settings)))
    crossing.run(drain)

    assert crossing.bigquery.appends == [("S0", 0, 1)]
    assert crossing.left() == DRAINED


def test_an_adopter_shows_signs_of_life_while_bigquery_keeps_it_waiting(crossing, redis_server):
    beaten: list[spools.Holder] = []
    seen = threading.Event()

    class Watched(Spool):
        def beat(self, holder: spools.Holder) -> None:
            super().beat(holder)
            beaten.append(holder)
            seen.set()

    spool = Watched(spools.connect(redis_server.settings))
    crossing.push(record(1))
    crossing.bigquery.faults["write"] = ["lost"]
    crossing.drain(spool).step()
    crossing.die("w1")
    crossing.bigquery.meanwhile["finalize"] = lambda: seen.wait(1.5)
    adopter = crossing.drain(spool)

    adopter.adopt("w1")

    assert len(beaten) >= 2
    assert {(holder.writer, holder.actor) for holder in beaten} == {("w1", "w2"), ("w2", "w2")}


# -------------------------------------------------------------------------------------------------------- what is bad


def test_what_is_no_record_is_set_aside_whole_and_the_others_land(crossing, spool):
    crossing.push(record(1), b"{broken", record(2), record(3, jsn={"no": "text"}))

    crossing.run(crossing.drain(spool))

    failed = crossing.failed()
    assert crossing.urls() == ["1", "2"]
    assert [
        (one["stage"], one["reason"].partition(": ")[0], orjson.loads(record(3))["url"] in one["raw"]) for one in failed
    ] == [
        ("write", "jsn", True),
        ("write", "record", False),
    ]
    assert crossing.left() == DRAINED | {"failed": failed}


def test_a_refused_row_is_a_failed_record_with_its_reason_and_the_others_land(crossing, spool):
    texts = [record(number) for number in range(3)]
    crossing.push(*texts)
    crossing.bigquery.refuses = lambda row: "bad url" if row["url"] == "1" else ""

    crossing.run(crossing.drain(spool))

    [failed] = crossing.failed()
    assert crossing.urls() == ["0", "2"]
    assert crossing.bigquery.appends == [("S0", 0, 3), ("S0", 0, 2)]
    assert failed == {
        "v": 1,
        "fid": failed["fid"],
        "dt": failed["dt"],
        "site": "bizocean",
        "stage": "write",
        "reason": "bad url",
        "raw": texts[1].decode(),
        "eid": orjson.loads(texts[1])["eid"],
    }
    assert crossing.left() == DRAINED | {"failed": [failed]}


def test_a_batch_of_bad_rows_alone_leaves_the_stream_where_it_was(crossing, spool):
    crossing.push(record(1), record(2))
    crossing.bigquery.refuses = lambda row: "bad"
    drain = crossing.drain(spool)
    crossing.run(drain)
    crossing.bigquery.refuses = lambda row: ""
    crossing.push(record(3))

    crossing.run(drain)

    assert len(crossing.failed()) == 2
    assert crossing.urls() == ["3"]
    assert crossing.bigquery.appends[-1] == ("S0", 0, 1)


def test_bad_rows_in_the_majority_fail_only_after_others_have_passed(crossing, spool):
    crossing.push(*map(record, range(20)))
    crossing.bigquery.refuses = lambda row: "bad" if int(row["url"]) < 15 else ""

    crossing.run(crossing.drain(spool))

    appended = [rows for _, _, rows in crossing.bigquery.appends]
    assert appended[:3] == [20, 5, 15]
    assert len(crossing.failed()) == 15
    assert crossing.urls() == [str(number) for number in range(15, 20)]
    assert crossing.left()["in_flight"] == (0, 0)


def test_all_of_many_rows_refused_is_the_tables_trouble_and_nothing_is_dropped(crossing, spool):
    crossing.push(*map(record, range(10)))
    crossing.bigquery.refuses = lambda row: "bad"
    drain = crossing.drain(spool)

    moved = drain.step()
    failed = crossing.failed()
    crossing.bigquery.refuses = lambda row: ""
    crossing.run(drain)

    assert (moved, failed) == (False, [])
    assert crossing.urls() == [str(number) for number in range(10)]
    assert crossing.left() == DRAINED


def test_a_column_that_the_table_lacks_is_waited_for(crossing, spool):
    [wanted] = crossing.bigquery.tables.values()
    crossing.bigquery.tables[wanted.path] = replace(wanted, columns=wanted.columns[:3])
    crossing.bigquery.refuses = lambda row: "no such field: url"
    crossing.push(record(1))
    drain = crossing.drain(spool)

    moved = drain.step()
    failed = crossing.failed()
    crossing.bigquery.tables[wanted.path], crossing.bigquery.refuses = wanted, lambda row: ""
    crossing.run(drain)

    assert (moved, failed) == (False, [])
    assert crossing.urls() == ["1"]


def test_a_field_that_only_a_newer_arms_knows_waits_for_its_column_and_lands_there(crossing, spool):
    [wanted] = crossing.bigquery.tables.values()
    crossing.push(record(1, newer="x"))
    drain = crossing.drain(spool)

    moved = drain.step()
    failed = crossing.failed()
    crossing.bigquery.tables[wanted.path] = replace(wanted, columns=(*wanted.columns, Column("newer", "STRING")))
    crossing.run(drain)

    assert (moved, failed) == (False, [])
    [row] = crossing.bigquery.rows[wanted.path]
    assert (row["url"], row["newer"]) == ("1", "x")
    assert crossing.left() == DRAINED


def test_a_field_without_a_column_holds_up_the_others_for_a_while_only(crossing, spool):
    crossing.push(record(1, never="x"), record(2))
    drain = crossing.drain(spool)
    waited = sum(drain.step() is False for _ in range(PATIENT))

    crossing.run(drain)

    assert waited == PATIENT
    assert crossing.urls() == ["2"]
    [failed] = crossing.failed()
    assert failed["reason"].startswith("never: no column")


def test_all_of_many_rows_refused_again_and_again_are_set_aside_a_few_at_a_time(crossing, spool):
    crossing.push(*map(record, range(12)))
    crossing.bigquery.refuses = lambda row: "bad" if int(row["url"]) < 12 else ""
    drain = crossing.drain(spool)
    drain.step()
    crossing.push(*map(record, range(12, 40)))

    for _ in range(30):
        drain.step()

    assert len(crossing.failed()) == 12
    assert crossing.urls() == sorted(str(number) for number in range(12, 40))


def test_a_days_table_of_the_original_is_given_the_columns_it_lacks(redis_client, spool):
    wanted = NAMING.table(DAILY, DAY)
    standing = replace(wanted, columns=tuple(one for one in wanted.columns if one.name not in ("eid", "url")))
    crossing = Crossing(redis_client, DAILY, OneBigQuery(standing))
    altered = crossing.bigquery.tables
    crossing.bigquery.refuses = lambda row: "no such field" if altered[wanted.path] == standing else ""
    crossing.push(record(1))
    drain = crossing.drain(spool)

    crossing.run(drain)
    crossing.clock.now += 2
    crossing.run(crossing.drain(spool, source="later"))

    assert crossing.urls() == ["1"]
    assert [one.name for one in crossing.bigquery.tables[wanted.path].columns][-2:] == ["url", "eid"]


def test_a_claim_whose_answer_was_lost_is_still_a_claim(crossing, spool):
    crossing.push(record(1))
    fate = Fate(1, carried_out=True, error={"redis": SpoolUnclearError})  # register, then claim
    drain = crossing.drain(Fated(spool, "redis", fate))

    moved = drain.step()

    assert (moved, drain.holds) == (False, True)
    crossing.run(drain)
    assert crossing.urls() == ["1"]


def test_a_missing_partitioned_table_is_waited_for_and_then_written(redis_client, spool):
    crossing = Crossing(redis_client, PARTITIONED, OneBigQuery())
    crossing.push(record(1))
    drain = crossing.drain(spool, max_bytes=1000)

    moved = [drain.step() for _ in range(30)]
    waits_seconds = drain.waits_until - crossing.clock()
    crossing.push(*map(record, range(2, 8)))
    moved.append(drain.step())
    crossing.bigquery.create(NAMING.table(PARTITIONED, DAY))
    crossing.run(drain)

    assert moved == [False] * 31
    assert waits_seconds <= 1.5 * MISSING_SECONDS
    assert crossing.urls() == [str(number) for number in range(1, 8)]
    assert crossing.left() == DRAINED


def test_a_site_that_lost_a_field_meanwhile_learns_first_whether_its_claim_landed(crossing, spool):
    crossing.push(record(1), record(2))
    crossing.bigquery.faults["write"] = ["lost"]
    drain = crossing.drain(spool)
    drain.step()
    fields = tuple(one for one in PARTITIONED.fields if one.name != "url")
    drain.source = replace(drain.source, site=replace(PARTITIONED, fields=fields))

    crossing.run(drain)

    assert crossing.urls() == ["1", "2"]
    assert crossing.left() == DRAINED


# ----------------------------------------------------------------------------------------------------------- adoption

EVERY_CALL = range(25)  # more than a run makes: what is beyond its last call meets no fate


@pytest.mark.parametrize("streams", ["known", "unknown"])
@pytest.mark.parametrize("carried_out", [False, True])
def test_killed_at_any_call_and_adopted_each_record_is_one_row(redis_client, spool, carried_out, streams):
    fates = []
    for fatal in EVERY_CALL:
        redis_client.flushall()
        daily = Crossing(redis_client, DAILY, OneBigQuery())
        daily.push(record(1), b"garbage", record(2, NEXT_DAY), record(3), record(4, NEXT_DAY))
        daily.bigquery.faults["write"] = [RowsRefusedError({0: "bad"})]
        fate = Fate(fatal, carried_out, dict.fromkeys(("redis", "bigquery"), KilledError))
        with suppress(KilledError):
            daily.run(daily.drain(Fated(spool, "redis", fate), Fated(daily.bigquery, "bigquery", fate)))
        if streams == "unknown":
            daily.bigquery.streams.clear()
        daily.bigquery.faults.clear()
        daily.die("w1")
        other = daily.drain(spool)

        other.adopt("w1")
        daily.run(other)

        raws = [one["raw"] for one in daily.failed()]
        refused = [orjson.loads(raw)["url"] for raw in raws if raw != "garbage"]
        assert sorted(daily.urls() + refused) == ["1", "2", "3", "4"], fatal
        assert raws.count("garbage") == 1
        assert daily.left() == DRAINED | {"failed": daily.failed()}, fatal
        assert redis_client.smembers(key("skj", "workers")) <= {b"w2"}
        fates.append(fate.is_fulfilled)
    assert (fates[0], fates[-1]) == (True, False)


@pytest.mark.parametrize("carried_out", [False, True])
def test_any_one_answer_lost_each_record_is_one_row(redis_client, spool, carried_out):
    fates = []
    for fatal in EVERY_CALL:
        redis_client.flushall()
        daily = Crossing(redis_client, DAILY, OneBigQuery())
        daily.push(record(1), record(2, NEXT_DAY), record(3), record(4, NEXT_DAY))
        fate = Fate(fatal, carried_out, {"redis": SpoolUnclearError, "bigquery": WarehouseUnclearError})
        drain = daily.drain(Fated(spool, "redis", fate), Fated(daily.bigquery, "bigquery", fate))

        daily.run(drain)
        daily.run(drain)

        assert daily.urls() == ["1", "2", "3", "4"], fatal
        assert daily.left() == DRAINED, fatal
        fates.append(fate.is_fulfilled)
    assert (fates[0], fates[-1]) == (True, False)


@pytest.mark.parametrize("moment", ["before write", "after write"])
def test_a_writer_that_was_adopted_during_its_append_changes_nothing_any_more(crossing, spool, moment):
    crossing.push(record(1), record(2))
    late, adopter = crossing.drain(spool), crossing.drain(spool)

    def adopted_and_drained() -> None:
        crossing.die("w1")
        adopter.adopt("w1")
        crossing.push(record(3))
        crossing.run(adopter)

    crossing.bigquery.meanwhile[moment] = adopted_and_drained
    late.step()

    assert late.holder is None
    assert crossing.urls() == ["1", "2", "3"]
    assert crossing.left() == DRAINED


def test_a_dead_adopter_is_survived_by_the_next(crossing, spool):
    crossing.push(record(1))
    crossing.bigquery.faults["write"] = ["lost"]
    crossing.drain(spool).step()
    crossing.die("w1")
    crossing.bigquery.faults["finalize"] = ["lost"]
    crossing.drain(spool).adopt("w1")
    crossing.die("w1", "w2")
    third = crossing.drain(spool)

    third.adopt("w1")
    third.adopt("w2")
    crossing.run(third)

    assert crossing.urls() == ["1"]
    assert crossing.left() == DRAINED
    assert crossing.client.smembers(key("bizocean", "workers")) == {b"w3"}


def test_a_living_writer_is_not_adopted(crossing, spool):
    crossing.push(record(1))
    crossing.bigquery.faults["write"] = ["lost"]
    crossing.drain(spool).step()

    crossing.drain(spool).adopt("w1")

    assert not crossing.bigquery.streams["S0"].finalised
    assert crossing.client.hget(key("bizocean", "writer:w1"), "owner") == b"w1"


def test_after_a_gap_of_redis_nobody_is_adopted_for_the_time_of_a_lease(crossing, spool):
    crossing.push(record(1))
    crossing.bigquery.faults["write"] = ["lost"]
    crossing.drain(spool).step()
    crossing.die("w1")
    fate = Fate(0, False, {"redis": SpoolUnclearError})
    adopter = crossing.drain(Fated(spool, "redis", fate))
    adopter.step()

    adopter.adopt("w1")
    early = crossing.client.hget(key("bizocean", "writer:w1"), "owner")
    crossing.clock.now += 3.1
    adopter.adopt("w1")

    assert early == b"w1"
    assert not crossing.client.exists(key("bizocean", "writer:w1"))


# --------------------------------------------------------------------------------------------------------- taking leave


def test_release_hands_back_what_is_not_assigned_and_takes_leave(redis_client, spool):
    crossing = Crossing(redis_client, PARTITIONED, OneBigQuery())
    texts = [record(1), record(2)]
    crossing.push(*texts)
    drain = crossing.drain(spool)
    drain.step()
    held = drain.holds

    drain.release()

    assert held
    assert crossing.left()["queue"] == texts[::-1]
    assert crossing.left()["claims"] == []
    assert crossing.client.keys("*w1*") == []


def test_release_leaves_an_assigned_claim_to_whoever_adopts_it(crossing, spool):
    crossing.push(record(1))
    crossing.bigquery.faults["write"] = ["lost"]
    drain = crossing.drain(spool)
    drain.step()

    drain.release()
    crossing.die("w1")
    other = crossing.drain(spool)
    other.adopt("w1")
    crossing.run(other)

    assert crossing.urls() == ["1"]
    assert crossing.left() == DRAINED


def test_release_of_a_drain_that_never_claimed_asks_nobody(crossing):
    drain = crossing.drain(None)

    drain.release()

    assert drain.holder is None


# ------------------------------------------------------------------------------------------------------ the failed list


def a_failed_record(number: int) -> Failed:
    """Return a failed record as arms pushes it, without an eid."""
    fid = records.mint(1_795_000_000_000_000 + number)
    return Failed(fid=fid, dt=DAY, site="bizocean", stage="rules", reason="evt: required field", raw=str(number))


def test_failed_records_go_to_the_failed_table_and_the_ledger_does_not_count_them(redis_client, spool):
    crossing = Crossing(redis_client, PARTITIONED, OneBigQuery(NAMING.failed), source="failed")
    failed = [a_failed_record(1), a_failed_record(2)]
    redis_client.lpush(key("bizocean", "failed"), *(one.encode() for one in failed))

    crossing.run(crossing.drain(spool))

    told = {"site": "bizocean", "stage": "rules", "reason": "evt: required field", "eid": None}
    fields = {"dt": records.time_us(DAY)} | told
    assert crossing.bigquery.rows == {
        "beacons_failed.failed": [fields | {"raw": one.raw, "fid": one.fid} for one in reversed(failed)]
    }
    assert crossing.left() == DRAINED
    assert not redis_client.exists(key("bizocean", "ledger"))


def test_a_failed_list_that_holds_strange_things_is_drained_too(redis_client, spool):
    crossing = Crossing(redis_client, PARTITIONED, OneBigQuery(NAMING.failed), source="failed")
    later = orjson.dumps(orjson.loads(a_failed_record(1).encode()) | {"later": "a field of the next release"})
    redis_client.lpush(key("bizocean", "failed"), b"garbage", later, b"[]")

    crossing.run(crossing.drain(spool))

    assert sorted(row["raw"] for row in crossing.bigquery.rows["beacons_failed.failed"]) == sorted(
        ["garbage", "[]", later.decode()]
    )
    assert crossing.left() == DRAINED


def test_a_failed_table_that_refuses_is_waited_for_and_nothing_is_dropped(redis_client, spool):
    crossing = Crossing(redis_client, PARTITIONED, OneBigQuery(NAMING.failed), source="failed")
    redis_client.lpush(key("bizocean", "failed"), a_failed_record(1).encode())
    crossing.bigquery.refuses = lambda row: "bad"
    drain = crossing.drain(spool)

    moved = drain.step()
    crossing.bigquery.refuses = lambda row: ""
    crossing.run(drain)

    assert moved is False
    assert [row["raw"] for row in crossing.bigquery.rows["beacons_failed.failed"]] == ["1"]


# --------------------------------------------------------------------------------------------------- the local BigQuery


class Ending(Spool):
    """A spool whose process is killed right after the call `last`."""

    def __init__(self, spool: Spool, last: str) -> None:
        super().__init__(spool._client)
        self._last = last

    def __getattribute__(self, name: str) -> object:
        found = super().__getattribute__(name)
        if name != super().__getattribute__("_last"):
            return found

        def ended(*values: object, **named: object) -> None:
            found(*values, **named)
            raise KilledError

        return ended


class EndingWriter(warehouses.Writer):
    """A writer whose process is killed when its append has landed."""

    def write(self, table: Table, stream: str, offset: int, rows: Sequence[Row]) -> None:
        super().write(table, stream, offset, rows)
        raise KilledError


@pytest.fixture
def local(warehouse, redis_client):
    """A crossing to the local BigQuery, with a function that makes it for a site and a list."""

    def make(site: sites.Site, source: str = "queue", writer: type[warehouses.Writer] = warehouses.Writer) -> Crossing:
        naming = Naming(warehouse.settings.dataset)
        catalog = warehouse.catalog
        catalog.create_dataset(naming.dataset, "for a test")
        queries = warehouses.Queries(warehouse.clients, naming.dataset)
        parts = Warehouse(catalog, queries, writer(warehouse.clients))
        return Crossing(redis_client, site, parts, naming, source)

    return make


def test_a_record_lands_whole_in_bigquery(local, spool, warehouse):
    crossing = local(PARTITIONED)
    warehouse.catalog.create(crossing.source.naming.table(PARTITIONED, DAY))
    text = record(1, tit="😀 שלום 𠮷", jsn='{"id":12345678901234567890}')
    crossing.push(text)

    crossing.run(crossing.drain(spool))

    rows = warehouse.rows(
        "SELECT eid, FORMAT_TIMESTAMP('%F %H:%M:%E6S', dt), url, tit, TO_JSON_STRING(jsn) FROM bizocean"
    )
    assert rows == [(orjson.loads(text)["eid"], DAY, "1", "😀 שלום 𠮷", '{"id":12345678901234567890}')]
    assert crossing.left() == DRAINED


@pytest.mark.parametrize("last", ["claim", "sort", "assign", "write"])
def test_killed_after_each_stage_the_adopter_gives_bigquery_each_record_once(local, spool, warehouse, last):
    dying = local(DAILY, writer=EndingWriter if last == "write" else warehouses.Writer)
    dying.push(record(1, "2015-05-17 10:05:03"), record(2, NEXT_DAY), record(3, "2015-05-17 10:05:03"))
    with suppress(KilledError):
        dying.run(dying.drain(Ending(spool, last)))
    dying.die("w1")
    crossing = local(DAILY)
    crossing._writers = 1
    adopter = crossing.drain(spool)

    adopter.adopt("w1")
    crossing.run(adopter)

    found = {day: warehouse.rows(f"SELECT url FROM skj_{day} ORDER BY url") for day in ("20150517", "20261123")}
    assert found == {"20150517": [("1",), ("3",)], "20261123": [("2",)]}
    assert crossing.left() == DRAINED


def test_a_row_that_bigquery_refuses_is_set_aside_and_the_others_land(local, spool, warehouse):
    crossing = local(PARTITIONED)
    wanted = crossing.source.naming.table(PARTITIONED, DAY)
    strict = tuple(replace(one, mode="REQUIRED") if one.name == "tit" else one for one in wanted.columns)
    warehouse.catalog.create(replace(wanted, columns=strict))
    crossing.push(record(1, tit="a"), record(2), record(3, tit="c"))

    crossing.run(crossing.drain(spool))

    assert warehouse.rows("SELECT url FROM bizocean ORDER BY url") == [("1",), ("3",)]
    assert [one["reason"] for one in crossing.failed()] == ["Missing required field: tit."]
    assert crossing.left() == DRAINED | {"failed": crossing.failed()}


def test_failed_records_of_any_text_land_in_bigquery(local, spool, warehouse):
    crossing = local(PARTITIONED, "failed")
    failed = crossing.source.naming.failed
    warehouse.catalog.create_dataset(failed.dataset, "for a test")
    warehouse.catalog.create(failed)
    crossing.client.lpush(key("bizocean", "failed"), a_failed_record(1).encode(), b"\xff\x00 broken")

    crossing.run(crossing.drain(spool))

    rows = warehouse.rows(f"SELECT stage, raw, eid FROM {failed.path} ORDER BY stage")
    assert rows == [("rules", "1", None), ("write", "\\xff\x00 broken", None)]


def test_two_drains_on_one_list_under_load_double_and_lose_nothing(local, redis_server, warehouse):
    crossing = local(PARTITIONED)
    warehouse.catalog.create(crossing.source.naming.table(PARTITIONED, DAY))
    crossing.push(*map(record, range(1000)))
    size = 100 * len(record(1))
    drains = [crossing.drain(Spool(spools.connect(redis_server.settings)), max_bytes=size) for _ in range(2)]

    with ThreadPoolExecutor(2) as both:
        list(both.map(crossing.run, drains))

    assert warehouse.rows("SELECT COUNT(*), COUNT(DISTINCT eid) FROM bizocean") == [(1000, 1000)]
    assert crossing.left() == DRAINED
