"""One table's trouble delays no other, nor does a record that ends its writers; and no stream is used too late."""

import pytest

from oceanus import records
from oceanus.errors import RowsRefusedError, TableTroubleError, WarehouseUnclearError
from oceanus.records import Failed
from oceanus.spool import key, list_key
from r2bq.drain import FATAL, IDLE_SECONDS, SUSPECT
from tests.r2bq.crossing import (
    DAILY,
    DAY,
    DRAINED,
    NAMING,
    NEXT_DAY,
    NOW_US,
    PARTITIONED,
    Crossing,
    Fate,
    Fated,
    KilledError,
    OneBigQuery,
    record,
)


class Refusing:
    """A BigQuery of which one table answers an error."""

    def __init__(self, bigquery: object, path: str, error: Exception, call: str = "create_stream") -> None:
        self._bigquery, self._path, self._error, self._call = bigquery, path, error, call
        self.is_mended = False

    def __getattr__(self, name: str) -> object:
        part = getattr(self._bigquery, name)

        def call(first: object, *values: object) -> object:
            path = getattr(first, "path", first)
            if name == self._call and path == self._path and not self.is_mended:
                raise self._error
            return part(first, *values)

        return call


FIRST_DAY = NAMING.path(DAILY, DAY)


@pytest.mark.parametrize("call", ["create_stream", "write"])
def test_a_table_in_trouble_lets_the_others_go_on_and_its_rows_land_when_it_is_mended(daily, spool, call):
    broken = Refusing(daily.bigquery, FIRST_DAY, TableTroubleError("broken"), call)
    daily.push(*(record(number, DAY if number % 2 else NEXT_DAY) for number in range(20)))
    queue, later = daily.drain(spool, broken), daily.drain(spool, broken, source="later")

    daily.run(queue)
    others = daily.urls()
    daily.run(later)
    waits = later.waits_until - daily.clock.now
    daily.clock.now += 200
    broken.is_mended = True
    daily.run(later)

    assert others == sorted(str(number) for number in range(0, 20, 2))
    assert waits > 0
    assert daily.urls() == sorted(map(str, range(20)))
    assert daily.left() == DRAINED


def test_what_steps_aside_keeps_its_order(daily, spool):
    broken = Refusing(daily.bigquery, FIRST_DAY, TableTroubleError("broken"))
    pushed = [record(number) for number in range(5)]
    daily.push(*pushed)

    daily.run(daily.drain(spool, broken))

    assert daily.client.lrange(key("skj", "later"), 0, -1) == pushed[::-1]


def test_an_unclear_append_of_a_table_is_no_reason_to_step_aside(daily, spool):
    broken = Refusing(daily.bigquery, FIRST_DAY, WarehouseUnclearError("away"), "write")
    daily.push(record(1), record(2, NEXT_DAY))
    drain = daily.drain(spool, broken)

    moved = drain.step()

    assert (moved, drain.waits_until > daily.clock.now) == (False, True)
    assert daily.client.llen(key("skj", "later")) == 0


def test_the_trouble_of_a_site_with_one_table_waits_and_steps_nowhere(crossing, spool):
    [path] = crossing.bigquery.tables
    broken = Refusing(crossing.bigquery, path, TableTroubleError("broken"))
    crossing.push(record(1))
    drain = crossing.drain(spool, broken)

    moved = drain.step()
    broken.is_mended = True
    crossing.run(drain)

    assert moved is False
    assert crossing.urls() == ["1"]
    assert crossing.left() == DRAINED


def kill(crossing: Crossing, spool: object) -> None:
    """Let a writer die at its append."""
    dying = Fated(crossing.bigquery, "bigquery", Fate(1, carried_out=False, error={"bigquery": KilledError}))
    with pytest.raises(KilledError):
        crossing.drain(spool, dying).step()
    crossing.die(f"w{crossing._writers}")
    crossing.drain(spool).adopt(f"w{crossing._writers}")


def test_rows_with_which_writers_died_again_and_again_are_written_one_by_one(crossing, spool):
    crossing.push(*map(record, range(4)))
    for _ in range(SUSPECT):
        kill(crossing, spool)

    crossing.run(crossing.drain(spool))

    assert [rows for _, _, rows in crossing.bigquery.appends] == [1, 1, 1, 1]
    assert crossing.urls() == ["0", "1", "2", "3"]
    assert crossing.left() == DRAINED


def test_a_record_that_ends_its_writers_alone_is_set_aside_at_last(crossing, spool):
    crossing.push(*map(record, range(3)))
    for _ in range(FATAL):
        kill(crossing, spool)

    crossing.run(crossing.drain(spool))

    [failed] = crossing.failed()
    assert failed["reason"] == "r2bq: 5 writers have ended while they wrote it"
    assert b'"url":"0"' in failed["raw"].encode()
    assert crossing.urls() == ["1", "2"]
    assert crossing.left()["in_flight"] == (0, 0)


def test_tries_are_forgotten_after_an_hour(crossing, spool):
    crossing.push(record(1))
    kill(crossing, spool)

    assert 0 < crossing.client.ttl(key("bizocean", "tries")) <= 3600


def test_foreign_tries_stop_nothing(crossing, spool):
    crossing.client.set(key("bizocean", "tries"), "text")
    crossing.push(record(1))
    kill(crossing, spool)

    crossing.run(crossing.drain(spool))

    assert crossing.urls() == ["1"]


def test_a_stream_that_idled_for_a_day_is_closed_and_left(crossing, spool):
    crossing.push(record(1))
    drain = crossing.drain(spool)
    crossing.run(drain)
    crossing.clock.now += IDLE_SECONDS + 1
    crossing.push(record(2))

    crossing.run(drain)

    assert [stream for stream, _, _ in crossing.bigquery.appends] == ["S0", "S1"]
    assert crossing.bigquery.streams["S0"].finalised
    assert crossing.left() == DRAINED


def test_rows_refused_after_an_unclear_try_move_only_behind_the_fence(crossing, spool):
    """The unclear try may still be under way, and land with the rows that were set aside meanwhile."""
    crossing.push(*map(record, range(3)))
    crossing.bigquery.faults["write"] = [WarehouseUnclearError("no answer"), RowsRefusedError({0: "bad"})]
    drain = crossing.drain(spool)
    drain.step()

    drain.step()

    assert crossing.bigquery.streams["S0"].finalised
    assert crossing.failed() == []
    crossing.run(drain)
    assert crossing.urls() == ["0", "1", "2"]
    assert crossing.left() == DRAINED


def test_verify_settles_what_an_older_redis_brings_back_without_writing_it_again(crossing, spool):
    landed, fresh = record(1), record(2)
    crossing.push(landed)
    crossing.run(crossing.drain(spool))
    crossing.push(landed, fresh)

    crossing.run(crossing.drain(spool, verify=True))

    assert crossing.urls() == ["1", "2"]
    assert crossing.left() == DRAINED


def test_verify_goes_on_at_once_where_all_of_a_claim_has_landed(crossing, spool):
    landed = record(1)
    crossing.push(landed)
    crossing.run(crossing.drain(spool))
    crossing.push(landed)
    drain = crossing.drain(spool, verify=True)

    moved = drain.step()

    assert (moved, drain.waits_until) == (True, 0.0)
    assert crossing.left() == DRAINED


def test_verify_writes_no_failed_record_again_that_an_older_redis_brings_back(redis_client, spool):
    crossing = Crossing(redis_client, PARTITIONED, OneBigQuery(NAMING.failed), source="failed")
    landed, fresh = (
        Failed(fid=records.mint(NOW_US + number), dt=DAY, site="bizocean", stage="rules", reason="evt", raw="")
        for number in range(2)
    )
    crossing.client.lpush(key("bizocean", "failed"), landed.encode())
    crossing.run(crossing.drain(spool))
    crossing.client.lpush(key("bizocean", "failed"), landed.encode(), fresh.encode())

    crossing.run(crossing.drain(spool, verify=True))

    rows = [row["fid"] for row in crossing.bigquery.rows[NAMING.failed.path]]
    assert sorted(rows) == sorted([landed.fid, fresh.fid])
    assert crossing.client.llen(key("bizocean", "failed")) == 0


def test_two_writers_take_turns_at_a_list_that_is_one_writers_alone(crossing, spool):
    first, second = crossing.drain(spool, source="resends"), crossing.drain(spool, source="resends")
    first.step()

    moved = second.step()
    waits = second.waits_until
    first.release()
    crossing.clock.now += 2
    second.step()

    assert (moved, waits > 1000.0) == (False, True)
    assert crossing.client.get(list_key("bizocean", "resends", "turn")) == b"w2"


def test_the_turn_of_a_dead_writer_is_free_when_it_is_forgotten(crossing, spool):
    crossing.drain(spool, source="resends").step()
    crossing.client.delete(list_key("bizocean", "resends", "lease:w1"))
    second = crossing.drain(spool, source="resends")
    second.step()

    second.adopt("w1")
    second.step()

    assert crossing.client.get(list_key("bizocean", "resends", "turn")) == b"w2"
