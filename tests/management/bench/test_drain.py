"""The bench of the drain: what it fills and what landed is counted, and a turn's numbers are read off its looks."""

import asyncio
import json
import time

import pytest
from click.testing import CliRunner
from google.cloud.bigquery_storage_v1 import types

from management.bench import beacons
from management.bench.drain import Found, Pair
from management.bench.local import Local
from management.bench.null import Null
from management.bench.watch import Drained, Look, drained
from management.commands import oceanus
from oceanus import records, sites

SITE = sites.load(str(sites.SAMPLE))["bizocean"]
NOW_US = time.time_ns() // 1000


def test_a_drain_into_the_null_writer_is_measured_and_every_row_lands_once(redis_server):
    run = CliRunner().invoke(
        oceanus, ["bench", "drain", "--rows", "1200", "--turns", "1", "--pairs", "0", "--format", "json"]
    )

    told = json.loads(run.stdout)
    assert (run.exit_code, told["landed_once"], told["rows"]) == (0, True, 1200)
    assert "appendfsync always" in told["redis"]
    assert "ledger on" in told["redis"]
    assert told["rows_per_second_null"] == told["null"][0]["rows_per_second"] > 0
    assert told["ratio_local"] is None


def test_what_is_pushed_is_counted_as_arms_counts_it(redis_server, spool):
    pushes = list(beacons.pushes(SITE, 1200, NOW_US))

    asyncio.run(beacons.push(redis_server.settings, pushes, lambda _: None))

    texts = [text for push in pushes for text in push.records]
    found = [records.decode(text) for text in texts]
    ledger = spool.ledger("bizocean")
    assert ledger.whole.accepted == ledger.waiting == len({one["eid"] for one in found}) == 1200
    assert ledger.whole.accepted_digest == sum(records.digest(one["eid"]) for one in found)
    assert {records.minute(one["dt"]) for one in found} <= {push.minute for push in pushes}
    assert all(records.received_us(one["eid"]) < NOW_US for one in found)


def test_the_bare_client_writes_the_same_rows_in_as_many_bytes(warehouse):
    local = Local(warehouse.environ, SITE)
    texts = [text for push in beacons.pushes(SITE, 30, NOW_US) for text in push.records]

    requests = local.requests(texts, sum(map(len, texts[-10:])))
    taken = list(local.append(requests))

    found = {row[0] for row in warehouse.rows("SELECT eid FROM bare_bizocean")}
    assert taken == [10, 10, 10]
    assert found == {records.decode(text)["eid"] for text in texts}


def test_rows_that_did_not_land_are_a_difference(warehouse, redis_server, spool):
    local = Local(warehouse.environ, SITE)
    asyncio.run(beacons.push(redis_server.settings, beacons.pushes(SITE, 30, NOW_US), lambda _: None))

    told = local.differences(spool, 30)

    assert told[-1] == "30 pushed, 30 accepted, 0 landed, 0 doubled"


def test_the_null_writer_takes_what_stands_at_the_end_of_its_stream_alone():
    null = Null()
    stream = null.create(_Named(parent="t"), None).name

    codes = [next(null.append(iter([request(stream, offset, 2)]), None)).error.code for offset in (0, 0, 2, 6)]

    assert codes == [0, 6, 0, 11]
    assert null.finalize(_Named(name=stream), None).row_count == 4


class _Named:
    """Any request with a name in it."""

    def __init__(self, **names: str) -> None:
        self.__dict__ |= names


def request(stream: str, offset: int, rows: int) -> object:
    """Return an append of empty rows."""
    made = types.AppendRowsRequest.pb()(write_stream=stream, offset={"value": offset})
    made.proto_rows.rows.serialized_rows.extend([b""] * rows)
    return made


def look(at: float, claimed: int, left: int) -> Look:
    """Return a look at a process that takes half of a core, and 100 MiB and a bit with each second."""
    return Look(at, claimed, left, at / 2, 100 + at)


def test_a_turn_is_read_off_its_looks():
    looks = [look(0, 0, 1000), look(1, 100, 1000), look(2, 100, 900), look(5, 100, 100), look(6, 0, 0)]

    assert drained(looks) == Drained(
        rows_per_second=pytest.approx(1000 / 6),
        cpu_us_per_row=pytest.approx(3000),
        peak_mib=106,
        ratio_backlog=pytest.approx(2),
        ratio_backlog_cpu=pytest.approx(2),
    )


def test_a_queue_that_goes_in_one_batch_has_no_backlog_to_compare():
    assert drained([look(0, 0, 10), look(1, 0, 0)]).ratio_backlog == 1.0


def test_the_ratio_is_the_median_of_the_pairs():
    turns = [Drained(speed, 10.0, 100.0, 1.0, 1.0) for speed in (50.0, 80.0, 90.0)]
    pairs = [Pair(one, 100.0) for one in turns]

    told = Found(10, [], pairs, ["lost"]).report()

    assert (told["ratio_local"], told["rows_per_second_local"], told["rows_per_second_bare"]) == (0.8, 80.0, 100.0)
    assert (told["landed_once"], told["differences"], told["rows_per_second_null"]) == (False, ["lost"], None)
