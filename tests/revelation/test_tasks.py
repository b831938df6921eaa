"""The task queue on a real Redis: each telling is delivered once, a place in trouble delays no other, none is lost."""

import threading
import time

import pytest

from oceanus.alerts import Alerts
from oceanus.errors import RefusedError, TryAgainError
from oceanus.spool import connect
from revelation.delivery import Delivery
from revelation.tasks import Lanes
from revelation.telling import Message
from tests.conftest import RedisProcess, end, until
from tests.revelation.scene import Desk, NoHistory, PlainTexts, telling


class Gone:
    def tell(self, message: Message) -> None:
        raise RefusedError("gone")


class Office:
    """Places with desks, and as many starts of the queue as a test wants."""

    def __init__(self, redis_server) -> None:
        self.redis = redis_server
        self.alerts = Alerts(connect(redis_server.settings))
        self.desks = {"desk": Desk(), "other": Desk()}
        self.running: list[Lanes] = []

    def start(self, *places: str) -> Lanes:
        deliveries = {place: self._delivery(place, self.desks[place]) for place in places or self.desks}
        gone = lambda place: self._delivery(place, Gone())  # noqa: E731
        lanes = Lanes(connect(self.redis.settings), deliveries, gone, gone_seconds=0)
        lanes.start()
        self.running.append(lanes)
        return lanes

    def _delivery(self, place: str, desk) -> Delivery:
        now_us = telling().made_us
        return Delivery(place, "slack", desk, self.alerts, PlainTexts(), NoHistory(), "me", now_us=lambda: now_us)


@pytest.fixture
def office(redis_server):
    office = Office(redis_server)
    yield office
    for lanes in office.running:
        lanes.stop(5)


def test_tellings_go_each_to_its_place_once(office):
    lanes = office.start()

    lanes.put([telling(1), telling(2, "other"), telling(1), telling(3)])

    until(lambda: len(office.desks["desk"].told) == 2 and len(office.desks["other"].told) == 1)
    assert sorted(office.desks["desk"].told) == ["paid:1:0", "paid:3:0"]


def test_a_place_that_hangs_delays_no_other(office):
    hangs = threading.Event()
    office.desks["desk"].answers = [hangs.wait] * 10
    lanes = office.start()
    try:
        lanes.put([telling(number) for number in range(10)])
        lanes.put([telling(11, "other")])

        until(lambda: office.desks["other"].told == ["paid:11:0"])
        assert len(office.desks["desk"].told) <= 2
    finally:
        hangs.set()


def test_what_fails_is_tried_again_until_it_is_told(office):
    office.desks["desk"].answers = [TryAgainError("503"), TryAgainError("429", 0.2), RuntimeError("a bug")]
    lanes = office.start("desk")

    lanes.put([telling(1)])

    until(lambda: office.desks["desk"].told == ["paid:1:0"])


def test_what_was_put_before_a_stop_is_delivered_after_the_next_start(office):
    office.desks["desk"].answers = [TryAgainError("503")] * 3
    first = office.start("desk")
    first.put([telling(number) for number in range(3)])
    until(lambda: not office.desks["desk"].answers)
    first.stop(5)
    office.running.clear()

    office.start("desk")

    until(lambda: len(office.desks["desk"].told) == 3)


def test_messages_of_a_place_that_is_no_more_are_set_aside(office):
    first = office.start("desk")
    first.stop(5)
    office.running.clear()
    first.put([telling(1)])

    lanes = office.start("other")
    lanes.put([telling(2, "never")])
    lanes.look([])

    until(lambda: len(office.alerts.failed()) == 2)
    assert {letter.telling["key"] for letter in office.alerts.failed()} == {"paid:1:0", "paid:2:0"}


def test_a_telling_with_a_history_waits_for_its_rows(office):
    lanes = office.start("desk")
    waits = {"to": "desk", "text": "x", "history": {"by": "sid", "after_seconds": 2, "columns": ["url"]}}

    lanes.put([telling(1, action=waits), telling(2)])
    until(lambda: office.desks["desk"].told == ["paid:2:0"])

    until(lambda: office.desks["desk"].told == ["paid:2:0", "paid:1:0"])


@pytest.fixture
def own_office(tmp_path):
    """An office whose Redis may be ended and started again."""
    server = RedisProcess(tmp_path)
    office = Office(server)
    yield office
    for lanes in office.running:
        lanes.stop(5)
    end(server.process)


def test_what_waits_for_its_time_outlives_a_restart_of_redis(own_office):
    lanes = own_office.start("desk")
    waits = {"to": "desk", "text": "x", "history": {"by": "sid", "after_seconds": 4, "columns": ["url"]}}
    lanes.put([telling(number, action=waits) for number in range(5)])
    until(lambda: bool(own_office.redis.client().keys("*acks*")))

    own_office.redis.kill()
    own_office.redis.start()

    until(lambda: len(own_office.desks["desk"].told) == 5, 60)


def test_a_retry_that_redis_cannot_take_now_is_put_when_it_can(own_office):
    desk = own_office.desks["desk"]

    def lose_redis() -> None:
        own_office.redis.kill()
        raise TryAgainError("503")

    desk.answers = [lose_redis]
    lanes = own_office.start("desk")
    lanes.put([telling(1)])
    until(lambda: own_office.redis.process.poll() is not None and not desk.answers)

    own_office.redis.start()

    until(lambda: desk.told == ["paid:1:0"], 120)


def test_a_full_redis_ends_no_thread(own_office):
    lanes = own_office.start("desk")
    waits = {"to": "desk", "text": "x", "history": {"by": "sid", "after_seconds": 2, "columns": ["url"]}}
    lanes.put([telling(number, action=waits) for number in range(5)])
    client = own_office.redis.client()

    client.config_set("maxmemory", 1)
    time.sleep(4)  # beyond the time at which they are due
    client.config_set("maxmemory", 0)

    until(lambda: len(own_office.desks["desk"].told) == 5, 60)
    assert lanes.is_alive()


def test_its_keys_lie_below_one_name(office):
    office.start().put([telling(1)])

    until(lambda: bool(office.desks["desk"].told))
    names = set(office.redis.client().keys())
    assert {name.split(b":")[1] for name in names} <= {b"tasks", b"alerts"}
