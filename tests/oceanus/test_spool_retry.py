"""A failed record is sent again once, whatever is repeated, late, full, foreign or forgotten."""

import time
from dataclasses import replace

import pytest
import redis

from oceanus import records
from oceanus.errors import SpoolForgotError, SpoolRefusedError, SpoolUnclearError
from oceanus.ledger import ACCEPTED, FAILED, Count
from oceanus.pushes import Retry
from oceanus.spool import RETRIED_DAYS, Spool, connect, key
from tests.conftest import RedisProcess
from tests.oceanus.test_spool import configured, everything, rows_of

SITE, DAY_US = "shop", 86_400_000_000


def now_us() -> int:
    return time.time_ns() // 1000


def refused(text: bytes = b"text", fid: str = "") -> Retry:
    """Return a record that BigQuery had refused."""
    count = Count(minute="202611221007", kind=FAILED, records=-1, digest=-7)
    return Retry(fid=fid or records.mint(), record=text, count=count, is_new=False)


def rejected(text: bytes = b"text", fid: str = "") -> Retry:
    """Return a record of a beacon that arms had rejected."""
    count = Count(minute="202611221007", kind=ACCEPTED, records=1, digest=7)
    return Retry(fid=fid or records.mint(), record=text, count=count, is_new=True)


def retry(spool: Spool, *retries: Retry, since_ms: int | None = None, alerts: bool = False) -> list[object]:
    return spool.retry(SITE, retries, since_ms=since_ms, alerts=alerts)


@pytest.fixture
def look_inside(redis_server):
    client = redis_server.client()
    yield client
    client.close()


def test_a_record_that_is_to_be_judged_goes_to_the_resends(spool, look_inside):
    one = replace(refused(), source="resends")

    assert spool.retry(SITE, [one], since_ms=None, alerts=False) == ["OK"]
    assert (look_inside.llen(key(SITE, "queue")), look_inside.llen(key(SITE, "resends"))) == (0, 1)


def test_a_refused_record_is_in_flight_again_and_marked(spool, look_inside):
    look_inside.hset(key(SITE, "ledger"), mapping={"20261122f": 1, "20261122fd": 7})
    one = refused()

    answers = retry(spool, one)

    assert answers == ["OK"]
    assert rows_of(look_inside, "queue") == [b"text"]
    assert look_inside.hgetall(key(SITE, "ledger")) == {b"20261122f": b"0", b"20261122fd": b"0"}
    assert look_inside.hgetall(key(SITE, "ledger:2026112210")) == {b"07f": b"-1", b"07fd": b"-7"}
    assert 0 < look_inside.ttl(key(SITE, "ledger:2026112210")) <= 8 * 86_400
    assert look_inside.smembers("oceanus:sites") == {b"shop"}
    assert not look_inside.exists(key(SITE, "alerts"))
    [when_ms] = spool.retried(SITE, [one.fid, records.mint()]).values()
    assert abs(when_ms - time.time() * 1000) < 60_000
    assert spool.retried(SITE) == {one.fid: when_ms}
    assert spool.epoch_ms() == spool.marks_since(SITE) == when_ms


def test_a_rejected_beacon_is_accepted_now_and_told_like_any_other(spool, look_inside):
    listener = look_inside.pubsub()
    listener.subscribe(key(SITE, "live"))
    listener.get_message(timeout=5)

    retry(spool, rejected(), alerts=True)

    assert look_inside.hgetall(key(SITE, "ledger")) == {b"20261122a": b"1", b"20261122ad": b"7"}
    assert rows_of(look_inside, "queue") == rows_of(look_inside, "alerts") == [b"text"]
    assert listener.get_message(timeout=5)["data"] == b"text"
    listener.close()


def test_what_waits_is_written_before_what_is_sent_again(spool, look_inside):
    look_inside.lpush(key(SITE, "queue"), b"waits")

    retry(spool, refused(b"again"))

    assert rows_of(look_inside, "queue") == [b"again", b"waits"]  # the newest stands left


@pytest.mark.parametrize("make", [refused, rejected])
def test_a_retry_repeated_at_once_or_after_the_drain_changes_nothing(spool, look_inside, make):
    one, other = make(b"one"), make(b"other")

    first = retry(spool, one, other, one, alerts=True)
    before = everything(look_inside)
    repeated = retry(spool, other, one, alerts=True)
    unchanged = everything(look_inside) == before
    look_inside.delete(key(SITE, "queue"))
    late = retry(spool, one)

    assert (first, repeated, late) == (["OK", "OK", "DUP"], ["DUP", "DUP"], ["DUP"])
    assert unchanged
    assert not look_inside.exists(key(SITE, "queue"))


@pytest.mark.parametrize(("name", "kind"), [("queue", "list"), ("retried", "hash"), ("alerts", "list")])
def test_a_key_of_a_foreign_type_refuses_the_retry_and_nothing_is_changed(spool, look_inside, name, kind):
    look_inside.set(key(SITE, name), "foreign")
    before = everything(look_inside)

    [answer] = retry(spool, rejected(), alerts=True)

    assert isinstance(answer, SpoolRefusedError)
    assert f"FOREIGN oceanus:{{shop}}:{name} is no {kind}" in str(answer)
    assert everything(look_inside) == before


def test_foreign_text_in_the_ledger_does_not_undo_the_retry(spool, look_inside):
    look_inside.hset(key(SITE, "ledger"), "20261122f", "many")
    look_inside.set(key(SITE, "ledger:2026112210"), "text")
    look_inside.set("oceanus:sites", "text")
    one = refused()

    assert retry(spool, one, one) == ["OK", "DUP"]
    assert rows_of(look_inside, "queue") == [b"text"]


def test_at_maxmemory_a_retry_is_refused_like_a_push_and_may_be_tried_again(spool, look_inside):
    retry(spool, refused())
    before, one = everything(look_inside), refused()
    with configured(look_inside, "maxmemory", 1):
        [answer] = retry(spool, one)
    unchanged = everything(look_inside) == before

    assert isinstance(answer, SpoolRefusedError)
    assert "maxmemory" in str(answer)
    assert unchanged
    assert retry(spool, one) == ["OK"]


def test_a_mark_outlives_its_row_and_is_forgotten_only_when_its_id_is_refused_for_good(spool, look_inside):
    young = refused(fid=records.mint(now_us() - (RETRIED_DAYS - 1) * DAY_US))
    old = refused(fid=records.mint(now_us() - (RETRIED_DAYS + 1) * DAY_US))
    look_inside.hset(key(SITE, "retried"), mapping={old.fid: 1, young.fid: 2, "foreign": 3, "1": 4})

    marked = retry(spool, old, young)
    sent = retry(spool, refused())
    forgotten = retry(spool, old, young)

    assert (marked, sent, forgotten) == (["DUP", "DUP"], ["OK"], ["OLD", "DUP"])
    assert spool.retried(SITE).keys() >= {young.fid, "foreign", "1"}


def test_marks_do_not_grow_for_ever(spool, look_inside):
    past = now_us() - (RETRIED_DAYS + 1) * DAY_US
    look_inside.hset(key(SITE, "retried"), mapping={records.mint(past): 1 for _ in range(2000)})

    for _ in range(20):
        retry(spool, *(refused() for _ in range(20)))

    assert look_inside.hlen(key(SITE, "retried")) < 400 + 100


def test_a_redis_that_was_emptied_after_its_marks_were_read_takes_nothing(spool, look_inside):
    assert spool.marks_since(SITE) is None
    retry(spool, refused())
    since_ms = spool.marks_since(SITE)
    assert retry(spool, refused(), since_ms=since_ms) == ["OK"]
    look_inside.flushall()

    [answer] = retry(spool, refused(), since_ms=since_ms)

    assert isinstance(answer, SpoolForgotError)
    assert everything(look_inside) == {}


def test_without_a_redis_a_retry_is_unclear_and_says_so(own_redis: RedisProcess):
    spool = Spool(connect(own_redis.settings, 1))
    own_redis.kill()

    with pytest.raises(SpoolUnclearError):
        retry(spool, refused())


def test_a_redis_that_was_killed_has_mark_and_record_or_neither(own_redis: RedisProcess):
    one = refused()
    assert retry(Spool(connect(own_redis.settings)), one) == ["OK"]

    own_redis.kill()
    own_redis.start()

    assert retry(Spool(connect(own_redis.settings)), one) == ["DUP"]
    client: redis.Redis = own_redis.client()
    assert rows_of(client, "queue") == [b"text"]
    client.close()
