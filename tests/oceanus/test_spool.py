"""The spool on a real Redis: every script may be repeated or come late, and no record is lost or doubled on the way."""

import asyncio
import re
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from oceanus import records, scripts
from oceanus import spool as spools
from oceanus.errors import (
    ClaimChangedError,
    NotOurTurnError,
    SpoolError,
    SpoolForgotError,
    SpoolRefusedError,
    SpoolUnclearError,
    SpoolUnsafeError,
    WriterGoneError,
)
from oceanus.pushes import Numbered
from oceanus.spool import (
    ALERTS_CAP,
    CHUNK_ROWS,
    SEEK_ROWS,
    Backlog,
    Claim,
    Count,
    Holder,
    Look,
    Push,
    Pusher,
    Spool,
    connect,
    connect_pusher,
    key,
    list_key,
)
from tests.conftest import RedisProcess

SITE = "shop"
MINUTE = "202611221007"
PLENTY = 10**9
MINE = Holder(SITE, "queue", "w1", "w1")
ADOPTED = Holder(SITE, "queue", "w1", "w2")


def texts(first: int, last: int) -> list[bytes]:
    """Return the records first..last; each is its number, which is its digest too."""
    return [b"%d" % number for number in range(first, last + 1)]


def a_push(records: Sequence[bytes], **changes: object) -> Push:
    """Return a push of numbered records of one minute to the queue."""
    told = {"site": SITE, "source": "queue", "minute": MINUTE, "last_ms": 1_764_000_000_000}
    return Push(records=records, digest=sum(map(int, records)), **(told | changes))


def a_count(kind: str, records: Sequence[bytes], minute: str = MINUTE) -> list[Count]:
    """Return the ledger's line for numbered records of one minute."""
    return [Count(minute=minute, kind=kind, records=len(records), digest=sum(map(int, records)))]


def everything(client: "redis.Redis") -> dict[bytes, object]:
    """Return all that is in Redis; a lease shows only that it is there."""
    readers: dict[bytes, Callable[[bytes], object]] = {
        b"list": lambda name: client.lrange(name, 0, -1),
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"string": client.get,
    }
    return {name: readers[client.type(name)](name) for name in client.scan_iter()}


def rows_of(client: "redis.Redis", name: str) -> list[bytes]:
    return client.lrange(key(SITE, name), 0, -1)


def fly(server: RedisProcess, *flights: list[Push], seconds: float = 5.0) -> list[list[SpoolRefusedError | None]]:
    """Let one Pusher send `flights` one after the other."""

    async def run() -> list[list[SpoolRefusedError | None]]:
        pusher = Pusher(connect_pusher(server.settings, seconds), "host", 1)
        try:
            return [await pusher.push(flight, seconds) for flight in flights]
        finally:
            await pusher.close()

    return asyncio.run(run())


def eval_push(client: "redis.Redis", seq: int, records: Sequence[bytes], first: int | None = None) -> object:
    """Run the push script itself, as the producer `p`, with a number of the test's choice; `first`: its flight's."""
    names = ("queue", "pushed:p", "ledger", "alerts", "live")
    keys = [*(key(SITE, name) for name in names), "oceanus:sites", "oceanus:ledger:epoch", "oceanus:alarms"]
    counts = [MINUTE, "a", len(records), sum(map(int, records)), 5]
    return client.eval(scripts.PUSH, len(keys), *keys, seq, 0, 1, *counts, SITE, first or seq, *records)


@contextmanager
def configured(client: "redis.Redis", name: str, value: str | int) -> Iterator[None]:
    """Give Redis another setting for a while."""
    before = client.config_get(name)[name]
    client.config_set(name, value)
    try:
        yield
    finally:
        client.config_set(name, before)


@pytest.fixture
def look_inside(redis_server):
    client = redis_server.client()
    yield client
    client.close()


# ---------------------------------------------------------------------------------------------------------------- push


def test_a_push_stores_counts_and_names_its_site_in_one_go(redis_server, look_inside):
    answers = fly(redis_server, [a_push(texts(1, 3))])

    found = everything(look_inside)
    [producer] = [name for name in found if b":pushed:" in name]
    assert answers == [[None]]
    assert abs(int(found.pop(b"oceanus:ledger:epoch")) - time.time() * 1000) < 60_000  # Redis' own time
    assert found == {
        b"oceanus:{shop}:queue": [b"3", b"2", b"1"],
        b"oceanus:{shop}:ledger:2026112210": {b"07a": b"3", b"07ad": b"6"},
        b"oceanus:{shop}:ledger": {b"20261122a": b"3", b"20261122ad": b"6", b"last": b"1764000000000"},
        b"oceanus:sites": {b"shop"},
        producer: b"1",
    }


def test_what_a_push_leaves_for_a_while_ends_by_itself_and_the_rest_never(redis_server, look_inside):
    fly(redis_server, [a_push(texts(1, 1))])

    days = {name: round(look_inside.ttl(name) / 86400) for name in look_inside.scan_iter()}
    assert sorted(days.values()) == [0, 0, 0, 0, 8, 30]
    assert {name for name, left in days.items() if left} == {
        b"oceanus:{shop}:ledger:2026112210",
        *look_inside.keys("*pushed*"),
    }


def test_pushes_of_one_pusher_are_numbered_by_site(redis_server, look_inside):
    other = a_push(texts(3, 3), site="other")

    fly(redis_server, [a_push(texts(1, 1)), other, a_push(texts(2, 2), minute="202611221008")], [other])

    numbers = {name.partition(b"}")[0]: look_inside.get(name) for name in look_inside.keys("*pushed*")}
    assert numbers == {b"oceanus:{shop": b"2", b"oceanus:{other": b"2"}


def test_minutes_are_counted_apart_and_days_together(redis_server, look_inside):
    fly(redis_server, [a_push(texts(1, 2)), a_push(texts(3, 3), minute="202611222359")])

    assert look_inside.hgetall(key(SITE, "ledger:2026112210")) == {b"07a": b"2", b"07ad": b"3"}
    assert look_inside.hgetall(key(SITE, "ledger:2026112223")) == {b"59a": b"1", b"59ad": b"3"}
    assert look_inside.hmget(key(SITE, "ledger"), "20261122a", "20261122ad") == [b"3", b"6"]


def test_a_push_to_the_failed_list_is_counted_as_never_accepted_and_rings_no_bell(redis_server, look_inside):
    listener = look_inside.pubsub()
    listener.subscribe(key(SITE, "live"))
    listener.get_message(timeout=5)

    fly(redis_server, [a_push(texts(1, 2), source="failed", alerts=True)], [a_push(texts(9, 9))])

    assert rows_of(look_inside, "failed") == [b"2", b"1"]
    assert rows_of(look_inside, "alerts") == []
    assert look_inside.hmget(key(SITE, "ledger"), "20261122x", "20261122xd", "20261122a") == [b"2", b"3", b"1"]
    assert listener.get_message(timeout=5)["data"] == b"9"
    listener.close()


def test_each_accepted_record_is_told_on_the_live_channel(redis_server, look_inside):
    listener = look_inside.pubsub()
    listener.subscribe(key(SITE, "live"))
    listener.get_message(timeout=5)

    fly(redis_server, [a_push(texts(1, 2))])

    assert [listener.get_message(timeout=5)["data"] for _ in range(2)] == [b"1", b"2"]
    listener.close()


def test_a_site_with_alerts_gets_its_records_twice_in_one_push(redis_server, look_inside):
    fly(redis_server, [a_push(texts(1, 2), alerts=True)])

    assert rows_of(look_inside, "queue") == rows_of(look_inside, "alerts") == [b"2", b"1"]


def test_the_alerts_list_is_cut_at_its_cap_and_the_queue_is_not(redis_server, look_inside):
    look_inside.rpush(key(SITE, "alerts"), *[b"old"] * ALERTS_CAP)

    fly(redis_server, [a_push(texts(1, 2), alerts=True)])

    assert look_inside.llen(key(SITE, "alerts")) == ALERTS_CAP
    assert look_inside.lrange(key(SITE, "alerts"), 0, 2) == [b"2", b"1", b"old"]
    assert rows_of(look_inside, "queue") == [b"2", b"1"]


def test_five_thousand_records_go_in_one_push(redis_server, look_inside):
    records = texts(1, 5000)

    answers = fly(redis_server, [a_push(records, alerts=True)])

    assert answers == [[None]]
    assert rows_of(look_inside, "queue") == rows_of(look_inside, "alerts") == records[::-1]
    assert look_inside.hmget(key(SITE, "ledger"), "20261122a", "20261122ad") == [b"5000", b"%d" % sum(range(5001))]


def test_a_repeated_push_changes_nothing(look_inside):
    eval_push(look_inside, 1, texts(1, 2))
    eval_push(look_inside, 2, texts(3, 3))
    before = everything(look_inside)

    answers = [eval_push(look_inside, 1, texts(1, 2)), eval_push(look_inside, 2, texts(3, 3))]

    assert answers == [b"DUP", b"DUP"]
    assert everything(look_inside) == before


def test_a_push_after_one_that_redis_forgot_is_a_gap_and_leaves_an_alarm_alone(spool, look_inside):
    eval_push(look_inside, 1, texts(1, 1))
    before = everything(look_inside)

    answers = [eval_push(look_inside, 3, texts(3, 3)), eval_push(look_inside, 3, texts(3, 3))]

    assert answers == [b"GAP", b"GAP"]
    assert everything(look_inside) == before | {b"oceanus:alarms": {b"gap:shop": b"5"}}
    assert spool.alarms() == {"gap:shop": "5"}


def test_a_gap_behind_a_push_that_was_refused_in_the_same_flight_is_no_alarm(spool, look_inside):
    eval_push(look_inside, 1, texts(1, 1))

    assert eval_push(look_inside, 3, texts(3, 3), first=2) == b"GAP"
    assert spool.alarms() == {}


def test_an_acknowledged_alarm_is_gone_and_one_raised_anew_stays(spool, look_inside):
    look_inside.hset("oceanus:alarms", mapping={"gap:shop": "5", "gap:other": "6"})
    shown = spool.alarms()
    look_inside.hset("oceanus:alarms", "gap:other", "7")

    spool.acknowledge(shown)
    spool.acknowledge(shown)

    assert spool.alarms() == {"gap:other": "7"}


def test_a_name_ends_before_redis_forgets_its_numbers(redis_server, monkeypatch):
    pusher = Pusher(connect_pusher(redis_server.settings, 5.0), "host", 1)
    [first] = pusher.number([a_push(texts(1, 1))])
    now = time.monotonic()

    monkeypatch.setattr("oceanus.spool.time.monotonic", lambda: now + 15 * 86_400)
    [later] = pusher.number([a_push(texts(2, 2))])

    assert (first.seq, later.seq) == (1, 1)
    assert later.producer != first.producer


def test_a_redis_that_was_emptied_is_told_as_a_gap_and_then_counts_anew(redis_server, look_inside):
    async def run() -> list[list[SpoolRefusedError | None]]:
        pusher = Pusher(connect_pusher(redis_server.settings, 5.0), "host", 1)
        before = await pusher.push([a_push(texts(1, 1))], 5.0)
        look_inside.flushall()
        return [before, await pusher.push([a_push(texts(2, 2))], 5.0), await pusher.push([a_push(texts(3, 3))], 5.0)]

    before, gap, after = asyncio.run(run())

    assert (before, after) == ([None], [None])
    assert [str(refusal) for refusal in gap] == ["shop: Redis has forgotten pushes it had acknowledged (GAP)"]
    assert rows_of(look_inside, "queue") == [b"3"]
    assert look_inside.hkeys("oceanus:alarms") == [b"gap:shop"]


def test_two_producers_of_a_site_in_one_trip_are_refused_each_for_its_own_reason(redis_server, look_inside):
    look_inside.set(key(SITE, "failed"), "foreign")

    async def run() -> list[SpoolRefusedError | None]:
        pusher = Pusher(connect_pusher(redis_server.settings, 5.0), "host", 1)
        pushes = [a_push(texts(1, 1), source="failed"), a_push(texts(2, 2))]
        return await pusher.send([Numbered(pushes[0], "a", 1), Numbered(pushes[1], "b", 7)], 5.0)

    foreign, forgotten = asyncio.run(run())

    assert "FOREIGN" in str(foreign)
    assert isinstance(forgotten, SpoolForgotError)


@pytest.mark.parametrize("name", ["queue", "alerts"])
def test_a_key_of_a_foreign_type_refuses_the_push_and_nothing_else(redis_server, look_inside, name):
    look_inside.set(key(SITE, name), "foreign")

    answers = fly(redis_server, [a_push(texts(1, 1), alerts=True), a_push(texts(2, 2), site="other")])

    [refusal, stored] = answers[0]
    assert isinstance(refusal, SpoolRefusedError)
    assert f"FOREIGN oceanus:{{shop}}:{name} is no list" in str(refusal)
    assert stored is None
    assert look_inside.keys("oceanus:{shop}*") == [key(SITE, name).encode()]


def test_foreign_text_in_the_ledger_does_not_undo_the_push(look_inside):
    look_inside.hset(key(SITE, "ledger"), "20261122a", "many")
    look_inside.set(key(SITE, "ledger:2026112210"), "text")

    first, repeated = eval_push(look_inside, 1, texts(1, 2)), eval_push(look_inside, 1, texts(1, 2))

    assert (first, repeated) == (b"OK", b"DUP")
    assert rows_of(look_inside, "queue") == [b"2", b"1"]


def test_at_maxmemory_a_push_is_refused_and_its_number_is_free_again(look_inside):
    eval_push(look_inside, 1, texts(1, 1))
    before = everything(look_inside)
    with configured(look_inside, "maxmemory", 1), pytest.raises(redis.exceptions.OutOfMemoryError):
        eval_push(look_inside, 2, texts(2, 2))
    unchanged = everything(look_inside) == before

    answer = eval_push(look_inside, 2, texts(2, 2))

    assert unchanged
    assert answer == b"OK"
    assert rows_of(look_inside, "queue") == [b"2", b"1"]


def test_a_pusher_tells_a_full_redis_as_a_refusal_and_goes_on_when_there_is_room(redis_server, look_inside):
    async def run() -> list[list[SpoolRefusedError | None]]:
        pusher = Pusher(connect_pusher(redis_server.settings, 5.0), "host", 1)
        with configured(look_inside, "maxmemory", 1):
            full = await pusher.push([a_push(texts(1, 1))], 5.0)
        return [full, await pusher.push([a_push(texts(2, 2))], 5.0)]

    [[refusal], after] = asyncio.run(run())

    assert isinstance(refusal, SpoolRefusedError)
    assert after == [None]
    assert rows_of(look_inside, "queue") == [b"2"]


# --------------------------------------------------------------------------------------------------- the pusher's wire


class Wire:
    """A TCP proxy before Redis that forwards every request, and at wish swallows its answer or cuts the connection.

    The answer is read from Redis first, so that whatever is lost has run. `faults` are taken one by each EVAL.
    """

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.faults: list[str] = []
        self.sends: list[int] = []  # for each EVAL the number of the connection that it came by
        self.swallowed = threading.Event()
        self._connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._connections += 1
                upstream = socket.create_connection(("127.0.0.1", self._upstream))
                threading.Thread(target=self._serve, args=(client, upstream, self._connections), daemon=True).start()

    def _serve(self, client: socket.socket, upstream: socket.socket, number: int) -> None:
        taken: list[str] = []
        threading.Thread(target=self._answer, args=(client, upstream, taken), daemon=True).start()
        with suppress(OSError):
            while sent := client.recv(65536):
                for _ in re.findall(rb"\r\nEVAL\r\n", sent):
                    self.sends.append(number)
                    if self.faults:
                        taken.append(self.faults.pop(0))
                upstream.sendall(sent)
        upstream.close()

    def _answer(self, client: socket.socket, upstream: socket.socket, taken: list[str]) -> None:
        with suppress(OSError):
            while told := upstream.recv(65536):
                if "cut" in taken:
                    client.shutdown(socket.SHUT_RDWR)
                elif "swallow" in taken:
                    self.swallowed.set()
                else:
                    client.sendall(told)
        client.close()


@pytest.fixture
def wire(redis_server):
    proxy = Wire(redis_server.port)
    yield proxy
    proxy.close()


def pusher_by(wire: Wire, redis_server: RedisProcess, answer_seconds: float) -> Pusher:
    """Return a pusher that sends by `wire` and waits `answer_seconds` for one answer."""
    return Pusher(connect_pusher(replace(redis_server.settings, port=wire.port), answer_seconds), "host", 1)


@pytest.mark.parametrize("fault", ["cut", "swallow"])
def test_an_answer_lost_after_redis_ran_it_is_repeated_under_its_number_and_stored_once(
    redis_server, look_inside, wire, fault
):
    wire.faults = [fault]

    async def run() -> list[SpoolRefusedError | None]:
        return await pusher_by(wire, redis_server, 0.2).push([a_push(texts(1, 2))], 5.0)

    answer = asyncio.run(run())

    assert answer == [None]
    assert rows_of(look_inside, "queue") == [b"2", b"1"]
    assert look_inside.hget(key(SITE, "ledger"), "20261122a") == b"2"


def test_every_try_is_one_send_on_a_connection_of_its_own_after_a_timeout(redis_server, wire):
    wire.faults = ["swallow", "swallow", "cut"]

    async def run() -> None:
        pusher = pusher_by(wire, redis_server, 0.2)
        await pusher.push([a_push(texts(1, 1))], 5.0)
        await pusher.push([a_push(texts(2, 2))], 5.0)

    asyncio.run(run())

    assert wire.sends == [1, 2, 3, 4, 4]


def test_a_try_without_an_answer_is_not_sent_again_unseen(redis_server, wire):
    wire.faults = ["swallow"] * 10

    async def run() -> None:
        await pusher_by(wire, redis_server, 0.2).push([a_push(texts(1, 1))], 0.24)

    with pytest.raises(SpoolUnclearError):
        asyncio.run(run())

    assert wire.sends == [1]


def test_a_push_that_never_got_an_answer_is_unclear_and_its_name_is_not_used_again(redis_server, look_inside, wire):
    wire.faults = ["swallow"] * 100

    async def run() -> list[SpoolRefusedError | None]:
        pusher = pusher_by(wire, redis_server, 10.0)
        with pytest.raises(SpoolUnclearError):
            await pusher.push([a_push(texts(1, 1))], 0.3)
        wire.faults = []
        return await pusher.push([a_push(texts(2, 2))], 5.0)

    answer = asyncio.run(run())

    assert answer == [None]
    assert wire.sends == [1, 2]
    assert rows_of(look_inside, "queue") == [b"2", b"1"]
    assert [look_inside.get(name) for name in look_inside.keys("*pushed*")] == [b"1", b"1"]


def test_a_push_that_was_cancelled_gives_its_connection_and_its_name_to_nobody(redis_server, look_inside, wire):
    wire.faults = ["swallow"]

    async def run() -> list[SpoolRefusedError | None]:
        pusher = pusher_by(wire, redis_server, 10.0)
        cancelled = asyncio.create_task(pusher.push([a_push(texts(1, 1))], 10.0))
        await asyncio.to_thread(wire.swallowed.wait, 10)
        cancelled.cancel()
        with suppress(asyncio.CancelledError):
            await cancelled
        return await pusher.push([a_push(texts(2, 2))], 5.0)

    answer = asyncio.run(run())

    assert answer == [None]
    assert wire.sends == [1, 2]
    assert len(look_inside.keys("*pushed*")) == 2


def test_the_drains_client_sends_once_and_leaves_a_connection_that_timed_out(redis_server, wire):
    spool = Spool(connect(replace(redis_server.settings, port=wire.port), 0.2))
    wire.faults = ["swallow"]

    with pytest.raises(SpoolUnclearError):
        spool.register(MINE)
    spool.beat(MINE)

    assert wire.sends == [1, 2]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("appendfsync", "everysec"),
        ("maxmemory-policy", "allkeys-lru"),
        ("no-appendfsync-on-rewrite", "yes"),
    ],
)
def test_a_redis_that_would_not_keep_what_it_answers_gets_nothing(redis_server, look_inside, name, value):
    with configured(look_inside, name, value), pytest.raises(SpoolUnsafeError, match=f"{name} is {value}, must be"):
        fly(redis_server, [a_push(texts(1, 1))])

    assert everything(look_inside) == {}


def test_without_a_redis_a_push_is_unclear_when_its_time_is_over(redis_server):
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    nowhere = replace(redis_server.settings, port=port)

    async def run() -> None:
        await Pusher(connect_pusher(nowhere, 0.1), "host", 1).push([a_push(texts(1, 1))], 0.2)

    with pytest.raises(SpoolUnclearError):
        asyncio.run(run())


def test_a_redis_that_was_killed_has_all_that_it_acknowledged(own_redis):
    answers = fly(own_redis, *([a_push(texts(number, number))] for number in range(1, 101)))

    own_redis.kill()
    own_redis.start()

    client = own_redis.client()
    assert answers == [[None]] * 100
    assert rows_of(client, "queue") == texts(1, 100)[::-1]
    assert client.hget(key(SITE, "ledger"), "20261122a") == b"100"


def test_a_push_waits_for_a_redis_that_starts_again(own_redis):
    own_redis.kill()

    async def run() -> list[SpoolRefusedError | None]:
        pusher = Pusher(connect_pusher(own_redis.settings, 5.0), "host", 1)
        flight = asyncio.create_task(pusher.push([a_push(texts(1, 1))], 30.0))
        await asyncio.to_thread(own_redis.start)
        return await flight

    answer = asyncio.run(run())

    assert answer == [None]
    assert rows_of(own_redis.client(), "queue") == [b"1"]


# --------------------------------------------------------------------------------------------------------------- drain


def fill(client: "redis.Redis", first: int, last: int, name: str = "queue") -> None:
    """Put records into a list, as pushes would, the newest left."""
    client.lpush(key(SITE, name), *texts(first, last))


def test_a_claim_takes_the_oldest_first_and_keeps_the_order(spool, look_inside):
    fill(look_inside, 1, 5)
    spool.register(MINE)

    claim = spool.claim(MINE, 3, PLENTY)

    assert claim == Claim(
        token="1", table="", stream="", offset=0, rows=[b"3", b"2", b"1"], moved=3, length=3, waiting=2
    )
    assert rows_of(look_inside, "queue") == [b"5", b"4"]


def test_a_claim_is_filled_in_several_calls_each_with_a_token_of_its_own(spool, look_inside):
    fill(look_inside, 1, 4)
    spool.register(MINE)

    claims = [spool.claim(MINE, 2, PLENTY), spool.claim(MINE, 2, PLENTY, whole=False), spool.claim(MINE, 2, PLENTY)]

    assert [(one.token, one.moved, one.length, one.rows) for one in claims] == [
        ("1", 2, 2, [b"2", b"1"]),
        ("2", 2, 4, [b"4", b"3"]),
        ("2", 0, 4, [b"4", b"3", b"2", b"1"]),
    ]


def test_one_call_adds_a_chunk_at_most(spool, look_inside):
    fill(look_inside, 1, CHUNK_ROWS + 2)
    spool.register(MINE)
    spool.claim(MINE, 1, PLENTY)

    claim = spool.claim(MINE, PLENTY, PLENTY, whole=False)

    assert (claim.moved, claim.length, claim.waiting) == (CHUNK_ROWS, CHUNK_ROWS + 1, 1)
    assert claim.rows == texts(2, CHUNK_ROWS + 1)[::-1]


def test_what_is_asked_for_whole_is_returned_as_it_is(spool, look_inside):
    fill(look_inside, 1, 5)
    spool.register(MINE)
    spool.claim(MINE, 2, PLENTY)

    claim = spool.claim(MINE, 100, PLENTY)

    assert (claim.moved, claim.rows, claim.waiting) == (0, [b"2", b"1"], 3)


@pytest.mark.parametrize(("max_bytes", "count"), [(1, 1), (19, 1), (20, 2), (29, 2), (30, 3)])
def test_a_claim_ends_before_the_record_that_is_too_much_but_never_without_one(spool, look_inside, max_bytes, count):
    rows = [b"a" * 10, b"b" * 10, b"c" * 10]
    look_inside.lpush(key(SITE, "queue"), *rows)
    spool.register(MINE)

    claim = spool.claim(MINE, 100, max_bytes)

    assert (claim.rows, claim.waiting) == (rows[:count][::-1], 3 - count)
    assert rows_of(look_inside, "queue") == rows[count:][::-1]


@given(
    sizes=st.lists(st.integers(1, 2000), min_size=CHUNK_ROWS + 1, max_size=CHUNK_ROWS + 300),
    rows=st.integers(CHUNK_ROWS + 1, CHUNK_ROWS + 300),
    max_bytes=st.integers(1, 10**6),
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_many_rows_are_claimed_at_once_the_oldest_within_the_bytes_and_none_is_lost(
    spool, look_inside, sizes, rows, max_bytes
):
    look_inside.flushall()
    texts = [b"%d:%s" % (number, b"x" * size) for number, size in enumerate(sizes)]
    look_inside.lpush(key(SITE, "queue"), *texts)
    spool.register(MINE)

    claim = spool.claim(MINE, rows, max_bytes)

    assert claim.rows == texts[: claim.moved][::-1]
    assert rows_of(look_inside, "queue") == texts[claim.moved :][::-1]
    assert 1 <= claim.moved == claim.length <= rows
    assert claim.moved == 1 or sum(map(len, claim.rows)) <= max_bytes


def test_many_rows_are_claimed_without_a_step_for_each(spool, look_inside):
    fill(look_inside, 1, 5000)
    spool.register(MINE)
    look_inside.config_resetstat()

    claim = spool.claim(MINE, 4000, PLENTY)

    calls = {name: one["calls"] for name, one in look_inside.info("commandstats").items()}
    assert claim.moved == 4000
    assert (calls["cmdstat_sort"], calls["cmdstat_ltrim"]) == (1, 1)
    assert sum(calls.values()) < 50


class Hasty:
    """A client between whose script and whose look at the claim somebody has taken a row of it."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client

    def pipeline(self, transaction: bool) -> object:
        pipe = self._client.pipeline(transaction=transaction)
        read = pipe.lrange
        pipe.lrange = lambda name, first, last: read(name, first + 1, last)
        return pipe


def test_a_claim_that_is_changed_while_it_is_read_is_no_claim(redis_server, spool, look_inside):
    fill(look_inside, 1, 3)
    spool.register(MINE)
    hasty = Spool(Hasty(look_inside))

    with pytest.raises(ClaimChangedError):
        hasty.claim(MINE, 2, PLENTY)
    look_inside.delete(key(SITE, "lease:w1"))
    with pytest.raises(ClaimChangedError):
        hasty.adopt(ADOPTED)


def test_where_a_user_may_not_claim_many_at_once_they_come_one_by_one(spool, look_inside):
    fill(look_inside, 1, CHUNK_ROWS + 5)
    spool.register(MINE)
    look_inside.execute_command("ACL", "SETUSER", "default", "-ltrim")
    try:
        claim = spool.claim(MINE, PLENTY, PLENTY)
    finally:
        look_inside.execute_command("ACL", "SETUSER", "default", "+@all")

    assert claim.rows == texts(1, CHUNK_ROWS)[::-1]
    assert claim.waiting == 5


def test_an_assigned_claim_is_returned_as_it_is(spool, look_inside):
    fill(look_inside, 1, 4)
    spool.register(MINE)
    token = spool.claim(MINE, 2, PLENTY).token
    spool.assign(MINE, token, "d.shop", "S1")

    claim = spool.claim(MINE, 100, PLENTY)

    assert claim == Claim(
        token=token, table="d.shop", stream="S1", offset=0, rows=[b"2", b"1"], moved=0, length=2, waiting=2
    )


def test_nothing_to_claim_is_an_empty_claim(spool):
    spool.register(MINE)

    claim = spool.claim(MINE, 100, PLENTY)

    assert claim == Claim(token="", table="", stream="", offset=0)


def test_each_drained_list_has_writers_and_claims_of_its_own(spool, look_inside):
    fill(look_inside, 1, 1)
    fill(look_inside, 2, 2, "failed")
    holder = Holder(SITE, "failed", "w1", "w1")
    spool.register(holder)

    claim = spool.claim(holder, 10, PLENTY)

    assert claim.rows == [b"2"]
    assert rows_of(look_inside, "queue") == [b"1"]
    assert rows_of(look_inside, "failed:claim:w1") == [b"2"]
    assert spool.lapsed([(SITE, "queue"), (SITE, "failed")]) == [[], []]


def test_the_first_assignment_to_a_table_asks_for_a_stream_and_the_next_goes_on_behind_it(spool, look_inside):
    fill(look_inside, 1, 5)
    spool.register(MINE)
    first = spool.claim(MINE, 3, PLENTY).token
    unmade = spool.assign(MINE, first, "d.shop")
    begun = spool.assign(MINE, first, "d.shop", "S1")
    spool.settle(MINE, first, a_count("s", texts(1, 3)))
    second = spool.claim(MINE, 3, PLENTY).token

    gone_on = spool.assign(MINE, second, "d.shop", "S9")

    assert (unmade, begun, gone_on) == (None, ("S1", 0), ("S1", 3))
    assert spool.claim(MINE, 0, 0) == Claim(
        token=second, table="d.shop", stream="S1", offset=3, rows=[b"5", b"4"], length=2
    )


def test_streams_of_two_tables_count_apart(spool, look_inside):
    fill(look_inside, 1, 3)
    spool.register(MINE)
    assigned = []
    for table, stream in (("d.one", "S1"), ("d.two", "S2"), ("d.one", "S3")):
        token = spool.claim(MINE, 1, PLENTY).token
        assigned.append(spool.assign(MINE, token, table, stream))
        spool.settle(MINE, token, [])

    assert assigned == [("S1", 0), ("S2", 0), ("S1", 1)]


def test_a_claim_is_assigned_to_one_table_only(spool, look_inside):
    fill(look_inside, 1, 1)
    spool.register(MINE)
    token = spool.claim(MINE, 1, PLENTY).token
    spool.assign(MINE, token, "d.one", "S1")

    with pytest.raises(ClaimChangedError):
        spool.assign(MINE, token, "d.two", "S2")


def test_a_settled_claim_is_gone_and_counted_and_its_stream_stands_behind_it(spool, look_inside):
    fill(look_inside, 1, 3)
    spool.register(MINE)
    token = spool.claim(MINE, 3, PLENTY).token
    spool.assign(MINE, token, "d.shop", "S1")

    spool.settle(MINE, token, [*a_count("s", texts(1, 2)), *a_count("s", texts(3, 3), "202611222359")])

    found = everything(look_inside)
    assert found == {
        b"oceanus:{shop}:writer:w1": {
            b"owner": b"w1",
            b"batch": b"1",
            b"done": b"1",
            b"stream:d.shop": b"S1",
            b"next:d.shop": b"3",
        },
        b"oceanus:{shop}:lease:w1": b"1",
        b"oceanus:{shop}:workers": {b"w1"},
        b"oceanus:{shop}:ledger:2026112210": {b"07s": b"2", b"07sd": b"3"},
        b"oceanus:{shop}:ledger:2026112223": {b"59s": b"1", b"59sd": b"3"},
        b"oceanus:{shop}:ledger": {b"20261122s": b"3", b"20261122sd": b"6"},
    }


def test_a_claim_that_is_not_assigned_is_not_settled(spool, look_inside):
    fill(look_inside, 1, 1)
    spool.register(MINE)
    token = spool.claim(MINE, 1, PLENTY).token

    with pytest.raises(SpoolRefusedError, match="BROKEN claim"):
        spool.settle(MINE, token, a_count("s", texts(1, 1)))

    assert rows_of(look_inside, "claim:w1") == [b"1"]


def test_foreign_text_in_the_ledger_does_not_undo_a_settle(spool, look_inside):
    fill(look_inside, 1, 1)
    look_inside.set(key(SITE, "ledger"), "text")
    spool.register(MINE)
    token = spool.claim(MINE, 1, PLENTY).token
    spool.assign(MINE, token, "d.shop", "S1")

    spool.settle(MINE, token, a_count("s", texts(1, 1)))

    assert rows_of(look_inside, "claim:w1") == []
    assert look_inside.hget(key(SITE, "writer:w1"), "next:d.shop") == b"1"


def test_sort_sends_each_row_where_its_flag_says_in_order(spool, look_inside):
    fill(look_inside, 1, 7)
    spool.register(MINE)
    token = spool.claim(MINE, 6, PLENTY).token

    spool.sort(MINE, token, "kbflbk", failed=[b"refused"], counts=a_count("f", [b"4"]))

    assert rows_of(look_inside, "claim:w1") == [b"6", b"1"]
    assert rows_of(look_inside, "queue") == [b"7", b"5", b"2"]
    assert rows_of(look_inside, "failed") == [b"refused"]
    assert look_inside.hgetall(key(SITE, "ledger")) == {b"20261122f": b"1", b"20261122fd": b"4"}


def test_a_refused_row_leaves_the_others_assigned_to_the_same_offset(spool, look_inside):
    fill(look_inside, 1, 3)
    spool.register(MINE)
    token = spool.claim(MINE, 3, PLENTY).token
    spool.assign(MINE, token, "d.shop", "S1")

    spool.sort(MINE, token, "kfk", failed=[b"refused"])

    claim = spool.claim(MINE, 10, PLENTY)
    assert claim == Claim(token="2", table="d.shop", stream="S1", offset=0, rows=[b"3", b"1"], length=2)
    spool.settle(MINE, "2", [])
    assert look_inside.hget(key(SITE, "writer:w1"), "next:d.shop") == b"2"


def test_a_recovered_claim_leaves_its_stream_for_good(spool, look_inside):
    fill(look_inside, 1, 3)
    spool.register(MINE)
    token = spool.claim(MINE, 3, PLENTY).token
    spool.assign(MINE, token, "d.shop", "S1")

    spool.sort(MINE, token, "blb", counts=a_count("s", [b"2"]), drop_stream=True)

    claim = spool.claim(MINE, 10, PLENTY)
    assert claim.rows == [b"3", b"1"]
    assert spool.assign(MINE, claim.token, "d.shop") is None


def test_a_claim_tells_how_many_writers_have_died_with_one_of_its_rows(spool, look_inside):
    fill(look_inside, 1, 3)
    spool.register(MINE)
    for _ in range(2):
        spool.sort(MINE, spool.claim(MINE, 2, PLENTY).token, "tt")
    spool.sort(MINE, spool.claim(MINE, 1, PLENTY).token, "t")

    claim = spool.claim(MINE, 3, PLENTY)

    assert (claim.rows, claim.tries) == ([b"3", b"2", b"1"], 3)
    assert look_inside.hvals(key(SITE, "tries")) in ([b"3", b"2"], [b"2", b"3"])


def test_what_is_on_the_way_is_told_by_its_ids_in_all_lists_and_claims_but_the_resends(spool, look_inside):
    ids = [records.mint() for _ in range(6)]
    rows = [records.encode({"eid": eid, "raw": f'"eid":"{ids[5]}"'}) for eid in ids]
    look_inside.rpush(key(SITE, "queue"), rows[1], rows[0])
    look_inside.rpush(key(SITE, "later"), rows[2])
    look_inside.rpush(key(SITE, "failed"), rows[3], b"no record")
    look_inside.rpush(key(SITE, "resends"), rows[4])
    spool.register(MINE)
    spool.claim(MINE, 1, PLENTY)
    before = everything(look_inside)

    assert spool.on_the_way(SITE) == set(ids[:4])
    assert everything(look_inside) == before


def test_where_too_much_is_on_the_way_nothing_is_told(spool, look_inside):
    fill(look_inside, 1, SEEK_ROWS + 1)

    assert spool.on_the_way(SITE) is None


def test_a_list_of_one_writer_at_a_time_has_a_turn_that_ends_with_its_writer(spool, look_inside):
    mine, other = (Holder(SITE, "resends", writer, writer) for writer in ("w1", "w2"))
    for holder in (mine, other):
        spool.register(holder)
    look_inside.lpush(key(SITE, "resends"), b"1")

    claims = [spool.claim(mine, 5, PLENTY).rows]
    with pytest.raises(NotOurTurnError):
        spool.claim(other, 5, PLENTY)
    spool.sort(mine, spool.claim(mine, 0, 0).token, "b")
    spool.forget(mine)
    claims.append(spool.claim(other, 5, PLENTY).rows)

    assert claims == [[b"1"], [b"1"]]


def test_flags_for_another_number_of_rows_change_nothing(spool, look_inside):
    fill(look_inside, 1, 3)
    spool.register(MINE)
    token = spool.claim(MINE, 3, PLENTY).token
    before = everything(look_inside)

    with pytest.raises(ClaimChangedError):
        spool.sort(MINE, token, "bb")

    assert everything(look_inside) == before


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flags=st.lists(st.sampled_from("kbtwflr"), min_size=1, max_size=30), waiting=st.integers(0, 5))
def test_whatever_the_flags_no_row_is_lost_or_doubled_and_all_keep_their_order(redis_server, spool, flags, waiting):
    client = redis_server.client()
    client.flushall()
    fill(client, 1, len(flags) + waiting)
    spool.register(MINE)
    claim = spool.claim(MINE, len(flags), PLENTY)
    marked = {mark: [row for row, flag in zip(claim.rows, flags, strict=True) if flag == mark] for mark in "kbtwflr"}
    back = [row for row, flag in zip(claim.rows, flags, strict=True) if flag in "bt"]

    spool.sort(MINE, claim.token, "".join(flags), failed=marked["f"][::-1])

    newer = texts(len(flags) + 1, len(flags) + waiting)[::-1]
    assert rows_of(client, "claim:w1") == marked["k"]
    assert rows_of(client, "queue") == newer + back
    assert rows_of(client, "later") == marked["w"]
    assert client.hlen(key(SITE, "tries")) == len(marked["t"])
    assert rows_of(client, "failed") == marked["f"]


def test_only_a_writer_without_a_sign_of_life_is_adopted(spool, look_inside):
    fill(look_inside, 1, 2)
    spool.register(MINE)
    token = spool.claim(MINE, 2, PLENTY).token
    spool.assign(MINE, token, "d.shop", "S1")

    living = spool.adopt(ADOPTED)
    look_inside.delete(key(SITE, "lease:w1"))
    lapsed = spool.lapsed([(SITE, "queue")])
    dead = spool.adopt(ADOPTED)

    assert living is None
    assert lapsed == [["w1"]]
    assert dead == Claim(token=token, table="d.shop", stream="S1", offset=0, rows=[b"2", b"1"], length=2)
    assert spool.lapsed([(SITE, "queue")]) == [[]]


def test_an_adopted_writer_is_not_adopted_again_while_its_adopter_lives(spool, look_inside):
    spool.register(MINE)
    look_inside.delete(key(SITE, "lease:w1"))
    spool.adopt(ADOPTED)

    second = spool.adopt(replace(ADOPTED, actor="w3"))

    assert second is None


def test_a_writer_that_nobody_knows_is_not_adopted(spool, look_inside):
    assert spool.adopt(ADOPTED) is None
    assert everything(look_inside) == {}


def test_a_lease_is_a_matter_of_seconds(spool, look_inside):
    spool.register(MINE)
    registered = look_inside.pttl(key(SITE, "lease:w1"))
    look_inside.persist(key(SITE, "lease:w1"))

    spool.beat(MINE)

    assert 1000 < registered <= 3000
    assert 1000 < look_inside.pttl(key(SITE, "lease:w1")) <= 3000


def test_only_a_writer_with_an_empty_claim_is_forgotten(spool, look_inside):
    fill(look_inside, 1, 1)
    spool.register(MINE)
    claim = spool.claim(MINE, 1, PLENTY)

    holding = spool.forget(MINE)
    spool.sort(MINE, claim.token, "b")
    empty = spool.forget(MINE)

    assert (holding, empty) == (False, True)
    assert everything(look_inside) == {b"oceanus:{shop}:queue": [b"1"]}


def test_beats_renews_many_leases_in_one_trip_and_tells_who_was_adopted(spool, look_inside):
    other = Holder(SITE, "failed", "w9", "w9")
    spool.register(MINE)
    spool.register(other)
    look_inside.delete(key(SITE, "lease:w1"), list_key(SITE, "failed", "lease:w9"))
    spool.adopt(ADOPTED)

    answers = spool.beats([MINE, other])
    look_inside.lpush(list_key(SITE, "failed", "claim:w9"), b"1")
    answers += spool.beats([other])

    assert answers == [None, False, True]
    assert look_inside.exists(list_key(SITE, "failed", "lease:w9"))
    assert spool.beats([]) == []


# --- every script repeated, late, and at the ceiling


class Walk:
    """One writer's way through two batches of two records; every call can be made again with its first arguments."""

    def __init__(self, spool: Spool, client: "redis.Redis") -> None:
        self._spool = spool
        fill(client, 1, 4)

    def register(self) -> None:
        self._spool.register(MINE)

    def beat(self) -> None:
        self._spool.beat(MINE)

    def claim(self) -> None:
        self._spool.claim(MINE, 2, PLENTY)

    def fill_up(self) -> None:
        self._spool.claim(MINE, 2, PLENTY, whole=False)

    def sort(self) -> None:
        self._spool.sort(MINE, "1", "bk")

    def assign(self) -> None:
        self._spool.assign(MINE, "2", "d.shop", "S1")

    def settle(self) -> None:
        self._spool.settle(MINE, "2", a_count("s", [b"1"]))

    def adopt(self) -> None:
        self._spool.adopt(ADOPTED)

    def forget(self) -> None:
        self._spool.forget(MINE)

    def until(self, last: str) -> None:
        """Go on as far as the call `last`."""
        for step in STEPS[: STEPS.index(last) + 1]:
            getattr(self, step)()

    def batch_two(self) -> None:
        """Claim and assign the next batch."""
        claim = self._spool.claim(MINE, 2, PLENTY)
        self._spool.assign(MINE, claim.token, "d.shop")


STEPS = ["register", "beat", "claim", "sort", "assign", "settle"]


@pytest.fixture
def walk(spool, look_inside):
    return Walk(spool, look_inside)


@pytest.mark.parametrize("step", ["register", "beat", "sort", "assign", "settle"])
def test_a_repeated_call_changes_nothing(walk, look_inside, step):
    walk.until(step)
    before = everything(look_inside)

    with suppress(ClaimChangedError):
        getattr(walk, step)()

    assert everything(look_inside) == before


def test_a_repeated_claim_with_nothing_more_to_claim_changes_nothing(spool, look_inside):
    fill(look_inside, 1, 2)
    spool.register(MINE)
    first = spool.claim(MINE, 2, PLENTY)
    before = everything(look_inside)

    second = spool.claim(MINE, 2, PLENTY)

    assert second == replace(first, moved=0)
    assert everything(look_inside) == before


@pytest.mark.parametrize("step", [*STEPS, "adopt", "forget"])
def test_a_call_that_runs_after_the_next_batch_was_assigned_changes_nothing(walk, look_inside, step):
    walk.until("settle")
    walk.batch_two()
    before = everything(look_inside)

    with suppress(ClaimChangedError):
        getattr(walk, step)()

    assert everything(look_inside) == before


def test_a_settle_repeated_because_its_answer_was_lost_is_no_error(walk):
    walk.until("settle")

    walk.settle()


@pytest.mark.parametrize("step", ["sort", "assign"])
def test_a_claim_that_was_filled_up_since_is_not_what_its_first_token_names(walk, look_inside, step):
    walk.until("sort" if step == "assign" else "claim")
    walk.fill_up()
    before = everything(look_inside)

    with pytest.raises(ClaimChangedError):
        getattr(walk, step)()

    assert everything(look_inside) == before


def test_a_settle_that_comes_after_two_more_batches_changes_nothing(walk, spool, look_inside):
    walk.until("settle")
    walk.batch_two()
    spool.settle(MINE, "3", a_count("s", texts(2, 3)))
    walk.batch_two()
    before = everything(look_inside)

    with pytest.raises(ClaimChangedError):
        walk.settle()

    assert everything(look_inside) == before


def test_a_settle_for_rows_of_which_one_was_refused_since_changes_nothing(spool, look_inside):
    fill(look_inside, 1, 3)
    spool.register(MINE)
    token = spool.claim(MINE, 3, PLENTY).token
    spool.assign(MINE, token, "d.shop", "S1")
    spool.sort(MINE, token, "kfk", failed=[b"refused"])
    before = everything(look_inside)

    with pytest.raises(ClaimChangedError):
        spool.settle(MINE, token, a_count("s", texts(1, 3)))

    assert everything(look_inside) == before


@pytest.mark.parametrize("step", ["beat", "claim", "sort", "assign", "settle"])
@pytest.mark.parametrize("reached", ["register", "claim", "sort", "assign"])
def test_a_call_of_an_adopted_writer_is_told_so_and_changes_nothing(walk, spool, look_inside, reached, step):
    walk.until(reached)
    look_inside.delete(key(SITE, "lease:w1"))
    spool.adopt(ADOPTED)
    before = everything(look_inside)

    with pytest.raises(WriterGoneError):
        getattr(walk, step)()

    assert everything(look_inside) == before


@pytest.mark.parametrize("step", ["register", "forget"])
def test_an_adopted_writer_does_not_come_back_by_itself(walk, spool, look_inside, step):
    walk.until("register")
    look_inside.delete(key(SITE, "lease:w1"))
    spool.adopt(ADOPTED)
    before = everything(look_inside)

    getattr(walk, step)()

    assert everything(look_inside) == before


@pytest.mark.parametrize("step", ["beat", "claim", "sort", "assign", "settle"])
def test_a_call_of_a_forgotten_writer_changes_nothing(walk, spool, look_inside, step):
    walk.until("register")
    spool.forget(MINE)
    before = everything(look_inside)

    with pytest.raises(WriterGoneError):
        getattr(walk, step)()

    assert everything(look_inside) == before


def test_a_full_redis_is_drained_all_the_same(walk, spool, look_inside):
    with configured(look_inside, "maxmemory", 1):
        walk.until("settle")
        walk.batch_two()
        look_inside.delete(key(SITE, "lease:w1"))
        claim = spool.adopt(ADOPTED)
        spool.sort(ADOPTED, claim.token, "fb", failed=[b"refused"], counts=a_count("f", [b"3"]), drop_stream=True)
        forgotten = spool.forget(ADOPTED)

    assert forgotten
    assert everything(look_inside) == {
        b"oceanus:{shop}:queue": [b"4", b"2"],
        b"oceanus:{shop}:failed": [b"refused"],
        b"oceanus:{shop}:ledger:2026112210": {b"07s": b"1", b"07sd": b"1", b"07f": b"1", b"07fd": b"3"},
        b"oceanus:{shop}:ledger": {b"20261122s": b"1", b"20261122sd": b"1", b"20261122f": b"1", b"20261122fd": b"3"},
    }


def test_a_full_redis_gives_many_records_at_once_all_the_same(spool, look_inside):
    fill(look_inside, 1, CHUNK_ROWS + 2)
    spool.register(MINE)
    with configured(look_inside, "maxmemory", 1):
        claim = spool.claim(MINE, PLENTY, PLENTY)

    assert claim.rows == texts(1, CHUNK_ROWS + 2)[::-1]
    assert rows_of(look_inside, "queue") == []


def test_a_file_that_ends_within_a_claim_of_many_records_has_each_of_them_once(own_redis):
    client = own_redis.client()
    fill(client, 1, CHUNK_ROWS + 5)
    spool = Spool(connect(own_redis.settings))
    spool.register(MINE)
    [file] = own_redis.folder.glob("appendonlydir/*.incr.aof")
    begun = file.stat().st_size
    spool.claim(MINE, CHUNK_ROWS + 1, PLENTY)
    own_redis.kill()
    whole = file.read_bytes()

    found = []
    for cut in (*range(begun, len(whole), (len(whole) - begun) // 5), len(whole)):
        file.write_bytes(whole[:cut])
        own_redis.start()
        found.append((rows_of(client, "claim:w1"), rows_of(client, "queue")))
        own_redis.kill()

    every = texts(1, CHUNK_ROWS + 5)[::-1]
    assert found[-1] == (every[4:], every[:4])
    assert found[:-1] == [([], every)] * (len(found) - 1)
    own_redis.start()


# --- any order of calls


MINUTES = ("202611221007", "202611222359")
WRITERS = ("w1", "w2", "w3")


def counts(kind: str, rows: Sequence[bytes]) -> list[Count]:
    """Return the ledger's lines for rows, of which the odd ones are of one minute and the even ones of another."""
    by_minute = defaultdict(list)
    for row in rows:
        by_minute[MINUTES[int(row) % 2]].append(row)
    return [line for minute, found in by_minute.items() for line in a_count(kind, found, minute)]


class Wandering(RuleBasedStateMachine):
    """Three writers push, claim, sort, assign, settle and adopt in any order; any call may come again, late.

    A hand is a writer's claim as one actor remembers it. Rows may leave Redis only by a settle or a sort into landed,
    and then only those rows that the caller of it meant.
    """

    def __init__(self, server: RedisProcess) -> None:
        super().__init__()
        self.client = server.client()
        self.client.flushall()
        self.spool = Spool(connect(server.settings))
        self.pushed = 0
        self.seq = 0
        self.hands: dict[Holder, Claim | None] = {}
        self.sent: list[tuple[Callable[[], object], Counter[bytes]]] = []
        self.accepted: Counter[bytes] = Counter()
        self.landed: Counter[bytes] = Counter()
        self.contents: dict[tuple[str, int], list[bytes]] = {}

    def teardown(self) -> None:
        self.client.close()

    # --- what there is

    def here(self) -> Counter[bytes]:
        """Return all records in queue, claims and failed list."""
        claims = [name.decode().partition("}:")[2] for name in self.client.keys("*:claim:*")]
        return Counter(row for name in ("queue", "later", "failed", *claims) for row in rows_of(self.client, name))

    def call(self, sent: Callable[[], object], takes: Sequence[bytes] = ()) -> object:
        """Send a call; whatever it answers, only `takes` may be gone after it, and nothing after an error."""
        meant = Counter(takes)
        before, inside = self.here(), everything(self.client)
        try:
            answer = sent()
        except (WriterGoneError, ClaimChangedError, SpoolRefusedError):
            assert everything(self.client) == inside
            return None
        gone = before - self.here()
        assert gone in (Counter(), meant)
        self.landed += gone
        return answer

    def send(self, sent: Callable[[], object], takes: Sequence[bytes] = ()) -> object:
        """Send a call for the first time."""
        self.sent.append((sent, Counter(takes)))
        return self.call(sent, takes)

    # --- what may happen

    @initialize()
    def begin(self) -> None:
        for writer in WRITERS:
            holder = Holder(SITE, "queue", writer, writer)
            self.spool.register(holder)
            self.hands[holder] = None

    @rule(count=st.integers(1, 4), minute=st.sampled_from((0, 1)))
    def push(self, count: int, minute: int) -> None:
        first = self.pushed + 1 + (self.pushed + 1 - minute) % 2
        records = [b"%d" % number for number in range(first, first + 2 * count, 2)]
        self.pushed, self.seq = first + 2 * count - 2, self.seq + 1
        number = self.seq
        assert self.send(lambda: eval_push(self.client, number, records, MINUTES[minute])) == b"OK"
        self.accepted.update(records)

    @rule(data=st.data(), rows=st.integers(0, 5), max_bytes=st.sampled_from((1, 3, PLENTY)), adds=st.booleans())
    def claim(self, data: st.DataObject, rows: int, max_bytes: int, adds: bool) -> None:
        holder = self.a_hand(data)
        if adds:  # what it moves is seen by the call below
            self.send(lambda: self.spool.claim(holder, rows, max_bytes, whole=False))
        self.claim_with(holder, rows, max_bytes)

    def claim_with(self, holder: Holder, rows: int, max_bytes: int) -> None:
        found = self.send(lambda: self.spool.claim(holder, rows, max_bytes))
        self.hands[holder] = found if isinstance(found, Claim) and found.rows else None

    @rule(data=st.data())
    def sort(self, data: st.DataObject) -> None:
        holder = self.a_hand(data)
        claim = self.hands[holder]
        if claim is None:
            return
        drop = bool(claim.stream) and data.draw(st.booleans(), "recover")
        marks = "lbtw" if drop else "kf" if claim.stream else "kbfw"
        size = len(claim.rows)
        flags = "".join(data.draw(st.lists(st.sampled_from(marks), min_size=size, max_size=size), "flags"))
        failed = [row for row, flag in zip(claim.rows, flags, strict=True) if flag == "f"]
        landed = [row for row, flag in zip(claim.rows, flags, strict=True) if flag == "l"]
        lines = [*counts("f", failed), *counts("s", landed)]
        if not drop and failed:
            self.contents.pop((claim.stream, claim.offset), None)  # a definitive refusal: nothing stands there
        self.send(
            lambda: self.spool.sort(holder, claim.token, flags, failed=failed, counts=lines, drop_stream=drop), landed
        )
        self.hands[holder] = None

    @rule(data=st.data(), table=st.sampled_from(("d.one", "d.two")))
    def assign(self, data: st.DataObject, table: str) -> None:
        self.assign_with(self.a_hand(data), table)

    def assign_with(self, holder: Holder, table: str) -> None:
        claim = self.hands[holder]
        if claim is None:
            return
        stream = f"S{len(self.sent)}"
        found = self.send(lambda: self.spool.assign(holder, claim.token, table, stream))
        if isinstance(found, tuple):
            self.hands[holder] = replace(claim, table=table, stream=found[0], offset=found[1])

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        self.settle_with(self.a_hand(data))

    def settle_with(self, holder: Holder) -> None:
        claim = self.hands[holder]
        if claim is None:
            return
        self.send(lambda: self.spool.settle(holder, claim.token, counts("s", claim.rows)), claim.rows)
        self.hands[holder] = None

    @rule(data=st.data(), table=st.sampled_from(("d.one", "d.two")), steps=st.integers(2, 3))
    def go_through(self, data: st.DataObject, table: str, steps: int) -> None:
        """Take one hand through a batch, or nearly: what comes late is mostly of a batch that was settled."""
        holder = self.a_hand(data)
        if self.hands[holder] is None:
            self.claim_with(holder, 2, PLENTY)
        self.assign_with(holder, table)
        if steps == 3:
            self.settle_with(holder)

    @rule(data=st.data(), by=st.sampled_from(WRITERS), lapses=st.booleans())
    def adopt(self, data: st.DataObject, by: str, lapses: bool) -> None:
        holder = replace(self.a_hand(data), actor=by)
        if lapses:
            self.client.delete(holder.key("lease"))
        found = self.send(lambda: self.spool.adopt(holder))
        if isinstance(found, Claim):
            self.hands[holder] = found if found.rows else None

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        holder = self.a_hand(data)
        self.send(lambda: self.spool.forget(holder))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def late(self, data: st.DataObject) -> None:
        """Run again any call that was ever sent: nobody hears its answer."""
        sent, takes = data.draw(st.sampled_from(self.sent), "late")
        self.call(sent, list(takes.elements()))

    def a_hand(self, data: st.DataObject) -> Holder:
        busy = [holder for holder, claim in self.hands.items() if claim]
        return data.draw(st.sampled_from(busy or list(self.hands)) | st.sampled_from(list(self.hands)), "hand")

    # --- what must hold

    @invariant()
    def every_record_is_in_one_place(self) -> None:
        assert self.here() + self.landed == self.accepted

    @invariant()
    def what_the_ledger_has_in_flight_is_in_queue_and_claims(self) -> None:
        ledger = {name.decode(): int(value) for name, value in self.client.hgetall(key(SITE, "ledger")).items()}
        in_flight = self.here() - Counter(rows_of(self.client, "failed"))
        assert ledger.get("20261122a", 0) - ledger.get("20261122s", 0) - ledger.get("20261122f", 0) == in_flight.total()
        digests = ledger.get("20261122ad", 0) - ledger.get("20261122sd", 0) - ledger.get("20261122fd", 0)
        assert digests == sum(int(row) for row in in_flight.elements())

    @invariant()
    def an_assigned_claim_has_its_length_and_its_offset_for_itself(self) -> None:
        for name in self.client.keys("*:writer:*"):
            writer = self.client.hgetall(name)
            rows = self.client.lrange(name.replace(b":writer:", b":claim:"), 0, -1)
            if b"n" in writer:
                assert int(writer[b"n"]) == len(rows) > 0
                place = writer[b"stream"].decode(), int(writer[b"offset"])
                assert self.contents.setdefault(place, rows) == rows


@pytest.mark.parametrize("chunk_rows", [1, CHUNK_ROWS])  # claimed at once, and one by one
def test_in_any_order_of_calls_repeats_and_late_ones_no_record_is_lost_or_doubled(
    redis_server, monkeypatch, chunk_rows
):
    monkeypatch.setattr(spools, "CHUNK_ROWS", chunk_rows)
    run_state_machine_as_test(
        lambda: Wandering(redis_server),
        settings=settings(max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=HealthCheck),
    )


# ---------------------------------------------------------------------------------------------------------------- look


def test_backlogs_tell_length_and_oldest_of_each_list(spool, look_inside):
    fill(look_inside, 1, 3)
    look_inside.set(key("broken", "queue"), "text")

    backlogs = spool.backlogs([(SITE, "queue"), (SITE, "failed"), ("broken", "queue")])

    assert backlogs == [
        Backlog(length=3, oldest=b"1"),
        Backlog(length=0, oldest=None),
        Backlog(length=0, oldest=None),
    ]


def test_a_look_shows_what_waits_and_what_is_claimed_and_changes_nothing(redis_server, spool, look_inside):
    fly(redis_server, [a_push(texts(1, 3))], [a_push(texts(9, 9), source="failed")])
    spool.register(MINE)
    spool.claim(MINE, 2, PLENTY)
    before = everything(look_inside)

    look = spool.look(SITE)

    assert look == Look(
        queue=1,
        claimed=2,
        waiting_failed=1,
        oldest=[b"3", b"1"],
        ledger={"20261122a": 3, "20261122ad": 6, "20261122x": 1, "20261122xd": 9, "last": 1_764_000_000_000},
    )
    assert spool.sites() == {SITE}
    assert everything(look_inside) == before


def test_a_glance_is_a_look_whose_ledger_has_the_days_that_were_asked_for(redis_server, spool, look_inside):
    fly(redis_server, [a_push(texts(1, 3))], [a_push(texts(9, 9), source="failed")])
    fly(redis_server, [a_push(texts(4, 4), site="other", minute="202611211007")])
    spool.register(MINE)
    spool.claim(MINE, 2, PLENTY)
    spool.register(replace(MINE, source="failed"))
    spool.claim(replace(MINE, source="failed"), 1, PLENTY)
    before = everything(look_inside)

    shop, other, unknown = spool.glances([SITE, "other", "unknown"], ["20261122", "20261123"])

    assert shop == replace(spool.look(SITE), ledger={"20261122a": 3, "20261122x": 1, "last": 1_764_000_000_000})
    assert other == replace(spool.look("other"), ledger={"last": 1_764_000_000_000})
    assert unknown == Look(queue=0, claimed=0, waiting_failed=0, oldest=[], ledger={})
    assert spool.glances([], ["20261122"]) == []
    assert everything(look_inside) == before


@pytest.mark.parametrize("name", ["queue", "workers", "ledger", "claim:w1", "failed:workers"])
def test_a_glance_passes_over_a_key_of_a_foreign_type(redis_server, spool, look_inside, name):
    fly(redis_server, [a_push(texts(1, 1), site="other")])
    spool.register(MINE)
    look_inside.delete(key(SITE, name))
    look_inside.set(key(SITE, name), "foreign")

    shop, other = spool.glances([SITE, "other"], ["20261122"])

    assert (shop.queue, shop.claimed, other.queue, other.ledger["20261122a"]) == (0, 0, 1, 1)


def test_who_hears_several_sites_is_told_which_one_a_record_is_of(redis_server, spool):
    heard = spool.heard([SITE, "other"], lambda error: pytest.fail(str(error)))
    assert next(heard) is None  # it listens

    fly(redis_server, [a_push(texts(1, 1)), a_push(texts(2, 2), site="other")])

    told = (one for one in heard if one)
    assert sorted([next(told), next(told)]) == [("other", b"2"), (SITE, b"1")]


def test_what_is_in_flight_lies_in_every_list_of_accepted_records_and_its_claims(redis_server, spool, look_inside):
    fly(redis_server, [a_push(texts(1, 6))])
    look_inside.lmove(key(SITE, "queue"), key(SITE, "later"), "RIGHT", "LEFT")
    look_inside.lmove(key(SITE, "queue"), key(SITE, "resends"), "RIGHT", "LEFT")
    look_inside.lmove(key(SITE, "queue"), key(SITE, "resends"), "RIGHT", "LEFT")
    for source in ("queue", "resends"):
        holder = replace(MINE, source=source)
        spool.register(holder)
        spool.claim(holder, 1, PLENTY)
    before = everything(look_inside)

    look, ledger = spool.look(SITE), spool.ledger(SITE)

    assert (look.queue, look.claimed, sorted(look.oldest)) == (4, 2, [b"1", b"2", b"3", b"4", b"5"])
    assert (ledger.waiting, ledger.whole.in_flight, ledger.days["20261122"].in_flight) == (6, 6, 6)
    assert ledger.minutes == {MINUTE: ledger.whole}
    assert everything(look_inside) == before


def test_what_somebody_wrote_into_the_ledger_is_named_and_the_rest_is_read(redis_server, spool, look_inside):
    fly(redis_server, [a_push(texts(1, 1))], [a_push(texts(2, 2), minute="202611210000")])
    look_inside.hset(key(SITE, "ledger"), mapping={"20261121a": "many", "99999999s": "1", "note": "mine"})
    look_inside.set(key(SITE, "ledger:2026112210"), "text")

    ledger = spool.ledger(SITE)

    assert ledger.damaged == {
        "20261121": "oceanus:{shop}:ledger: 20261121a holds no number",
        "99999999": "oceanus:{shop}:ledger: 99999999s is no day",
    }
    assert ledger.days["20261122"].accepted == 1
    assert set(ledger.minutes) == {"202611210000"}


def test_a_ledger_of_a_foreign_type_is_named(spool, look_inside):
    look_inside.set(key(SITE, "ledger"), "text")
    look_inside.lpush(key(SITE, "queue"), "1")

    ledger = spool.ledger(SITE)

    assert (ledger.damaged, ledger.waiting) == ({"": "oceanus:{shop}:ledger is no hash"}, 1)


def test_a_redis_that_is_away_is_an_error_of_ours(own_redis):
    spool = Spool(connect(own_redis.settings, 0.5))
    own_redis.kill()

    with pytest.raises(SpoolUnclearError):
        spool.ping()
    with pytest.raises(SpoolError):
        spool.backlogs([(SITE, "queue")])
