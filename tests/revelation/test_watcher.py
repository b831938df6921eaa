"""The watcher on a real Redis: each record of a site with rules is seen, and comes to the same tellings always."""

from dataclasses import asdict, replace

import pytest

from oceanus import records
from oceanus.alerts import Alerts
from oceanus.errors import SpoolRefusedError, SpoolUnclearError
from oceanus.spool import Spool, connect, key, list_key
from revelation import metrics
from revelation.rules import Counting, Limits
from revelation.watcher import ROWS, Watcher
from tests.revelation.scene import NOW_US, Heap, record, rule, rules


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.us = NOW_US

    def on(self, seconds: float) -> None:
        self.now += seconds
        self.us += int(seconds * 1e6)


class House:
    """Redis with what arms does to it, and as many watchers as a test wants."""

    def __init__(self, redis_server) -> None:
        self.client = redis_server.client()
        self.spool = Spool(connect(redis_server.settings))
        self.alerts = Alerts(connect(redis_server.settings))
        self.heap, self.clock = Heap(), Clock()
        self._writers = 0

    def push(self, *numbers: int, site: str = "shop", **fields: object) -> None:
        self.client.lpush(key(site, "alerts"), *(records.encode(record(number, **fields)) for number in numbers))

    def push_now(self, **fields: object) -> None:
        made = record(0, **fields) | {"eid": records.mint(self.clock.us)}
        self.client.lpush(key("shop", "alerts"), records.encode(made))

    def watcher(self, *some, held_ms: int = 60_000, late_seconds: float = 0, spool=None, **given) -> Watcher:
        return Watcher(
            rules(*some),
            ["shop", "mail"],
            spool or self.spool,
            self.alerts,
            self.heap,
            new_writer=self._name,
            clock=lambda: self.clock.now,
            now_us=lambda: self.clock.us,
            held_ms=held_ms,
            late_seconds=late_seconds,
            **given,
        )

    def _name(self) -> str:
        self._writers += 1
        return f"w{self._writers}"

    def die(self) -> None:
        """Let every watcher show no sign of life any more."""
        for site in ("shop", "mail"):
            for number in range(1, self._writers + 1):
                self.client.delete(list_key(site, "alerts", f"lease:w{number}"))

    def run(self, watcher: Watcher) -> None:
        for _ in range(200):
            if not watcher.step():
                return
        raise AssertionError("it goes round and round")

    def left(self) -> list[bytes]:
        return [name for name in self.client.keys("oceanus:{*") if b"writer" not in name and b"lease" not in name]

    @property
    def told(self) -> list[str]:
        return [str(one.record["url"]) for one in self.heap.put_in]


@pytest.fixture
def house(redis_server):
    return House(redis_server)


def test_each_record_is_seen_once_oldest_first(house):
    house.push(*range(3 * ROWS))
    house.push(7, site="mail")

    house.run(house.watcher(rule(), rule("opened", sites=["mail"])))

    assert [int(url) for url in house.told[: 3 * ROWS]] == [*range(ROWS), 7, *range(ROWS, 3 * ROWS - 1)]
    assert len(house.told) == 3 * ROWS + 1
    assert [name for name in house.left() if b"workers" not in name] == []


def test_records_that_no_rule_is_true_of_are_let_go(house):
    house.push(1, 2, 3)

    house.run(house.watcher(rule(matches=lambda seen: seen.record["url"] == "2")))

    assert house.told == ["2"]
    assert house.client.llen(key("shop", "alerts")) == 0


def test_a_telling_knows_its_rule_record_and_place(house):
    seen = record(1)
    house.client.lpush(key("shop", "alerts"), records.encode(seen))

    house.run(house.watcher(rule()))

    [telling] = house.heap.put_in
    assert (telling.key, telling.record) == (f"paid:{seen['eid']}:0", seen)
    assert (telling.rule, telling.site, telling.destination) == ("paid", "shop", "desk")
    assert telling.more == {"rule": "paid", "site": "shop", "count": 0}
    assert telling.made_us == NOW_US


def test_whatever_dies_amid_a_batch_it_is_looked_at_again_and_comes_to_the_same(house):
    house.push(*range(5))
    house.heap.trouble = [KeyboardInterrupt()]
    dead = house.watcher(rule(limits=Limits(a_minute=3)))
    with pytest.raises(KeyboardInterrupt):
        dead.step()
    house.die()
    house.clock.on(5)

    house.run(house.watcher(rule(limits=Limits(a_minute=3))))
    house.run(house.watcher(rule(limits=Limits(a_minute=3))))

    assert house.told == ["0", "1", "2"]
    assert house.client.llen(key("shop", "alerts")) == 0


def test_what_was_decided_about_records_that_are_gone_is_forgotten(house):
    house.push(*range(50))

    house.run(house.watcher(rule(limits=Limits(a_minute=3))))

    assert house.client.keys("oceanus:alerts:decided:*") == []


def test_a_living_watcher_is_not_adopted(house):
    house.push(1)
    house.heap.trouble = [SpoolUnclearError("away")]
    first = house.watcher(rule())
    first.step()

    house.run(house.watcher(rule()))
    beside = house.told
    first.step()

    assert beside == []
    assert house.told == ["1"]


def test_what_is_no_record_is_passed_over(house):
    house.client.lpush(key("shop", "alerts"), b"\xff", b"{}", b"[]")
    house.push(1)

    house.run(house.watcher(rule()))

    assert house.told == ["1"]


def test_records_of_a_newer_release_wait_for_it_and_hold_up_nobody(house, caplog):
    newer = records.encode(record(1)).replace(b'"v":1', b'"v":2')
    house.client.lpush(key("shop", "alerts"), newer)
    house.push(2)
    watcher = house.watcher(rule())

    watcher.step()

    assert [one.record["url"] for one in house.heap.put_in] == ["2"]
    assert watcher.step() is False
    assert house.client.lrange(key("shop", "alerts"), 0, -1) == [newer]
    assert "some are of a newer release" in caplog.text


def test_what_was_held_back_is_told_in_one_digest_when_the_minute_is_over(house):
    house.push(*range(500))
    watcher = house.watcher(rule(limits=Limits(a_minute=4)), held_ms=0)

    house.run(watcher)
    for _ in range(3):
        house.clock.on(2)
        watcher.step()

    digests = house.heap.put_in[4:]
    assert len(house.heap.put_in) == 5
    assert [one.more["count"] for one in digests] == [496]
    assert digests[0].action["text"].startswith("{{ count }} more of {{ rule }}")


def test_a_counting_rule_tells_how_many_there_were(house):
    house.push(*range(9))

    house.run(house.watcher(rule(counting=Counting(more_than=5, seconds=60))))

    assert [one.more["count"] for one in house.heap.put_in] == [6]


def test_silence_is_told_once_until_something_comes(house):
    watcher = house.watcher(rule(silence_seconds=900))
    for _ in range(20):
        house.clock.on(60)
        house.run(watcher)
    first = list(house.heap.keys)
    house.push_now()
    for _ in range(20):
        house.clock.on(60)
        house.run(watcher)

    assert len(first) == 1
    assert len(house.heap.keys) == 2
    assert len(set(house.heap.keys)) == 2


def test_nothing_is_silent_while_records_wait(house):
    """After an absence of its own revelation looks first at what came meanwhile."""
    quiet = house.watcher(rule(silence_seconds=900))
    house.run(quiet)
    house.clock.on(3600)
    house.push_now()

    house.run(house.watcher(rule(silence_seconds=900)))

    assert house.heap.keys == []


def test_what_a_full_list_dropped_is_told_once(house):
    house.client.set(key("shop", "alerts:dropped"), 12)
    watcher = house.watcher(rule(), rule("other"))
    watcher.step()
    house.clock.on(120)
    watcher.step()
    house.client.incrby(key("shop", "alerts:dropped"), 5)
    house.clock.on(120)
    watcher.step()

    assert [one.more["count"] for one in house.heap.put_in] == [12, 5]


def test_what_a_site_without_rules_dropped_is_told_to_nobody_and_noted(house):
    house.client.set(key("mail", "alerts:dropped"), 3)

    house.watcher(rule()).step()

    assert house.heap.put_in == []
    assert house.alerts.dropped("mail") is None


def test_a_kill_before_the_note_tells_of_the_same_drops_under_the_same_name(house):
    house.client.set(key("shop", "alerts:dropped"), 12)
    dead = house.watcher(rule())
    dead._note_dropped = lambda *_: None  # killed here
    dead.step()
    house.client.incrby(key("shop", "alerts:dropped"), 5)
    watcher = house.watcher(rule())
    watcher.step()
    house.clock.on(120)
    watcher.step()

    first, again, later = house.heap.put_in
    assert first.key == again.key != later.key
    assert [one.more["count"] for one in house.heap.put_in] == [12, 12, 5]


def test_a_claim_that_is_not_let_go_does_not_grow(house):
    house.push(*range(3 * ROWS))
    house.heap.trouble = [SpoolRefusedError("OOM")] * 5
    watcher = house.watcher(rule())

    lengths = []
    for _ in range(5):
        watcher.step()
        lengths.append(house.client.llen(list_key("shop", "alerts", "claim:w1")))
    house.run(watcher)

    assert lengths == [ROWS] * 5
    assert [int(url) for url in house.told] == list(range(3 * ROWS))


def test_many_rules_of_a_batch_are_decided_in_slices(house):
    house.push(*range(ROWS))
    asked = []
    decide = house.alerts.decide
    house.alerts.decide = lambda some: asked.append(len(some)) or decide(some)

    house.run(house.watcher(rule(), rule("two"), rule("three", matches=lambda seen: seen.record["url"] == "7")))

    assert asked == [ROWS, ROWS, 1]
    assert len(house.heap.put_in) == 2 * ROWS + 1


def test_a_site_whose_list_is_foreign_stops_no_other_and_is_named_now_and_then(house, caplog):
    house.client.set(key("shop", "alerts"), "foreign")
    house.push(1, site="mail")
    watcher = house.watcher(rule(), rule("m", sites=["mail"]))

    for _ in range(12):
        watcher.step()
        house.clock.on(1)

    assert house.told == ["1"]
    assert sum("shop: refused; records wait" in line for line in caplog.messages) == 2


def test_what_waits_is_measured_once_a_second(house):
    watcher = house.watcher(rule())
    watcher.step()
    house.push(*range(ROWS + 7))
    house.clock.on(2)
    watcher.step()

    assert metrics.WAITING.labels("shop")._value.get() == 7


def busy(house, watcher, seconds: int) -> None:
    """Let a record that is not `paid` come each second, so that no step finds nothing."""
    for _ in range(seconds):
        house.clock.on(1)
        house.push_now(evt="noise")
        watcher.step()


def hears_paid(seen) -> bool:
    return seen.record["evt"] == "paid"


def test_silence_is_told_though_the_site_is_busy(house):
    watcher = house.watcher(rule(matches=hears_paid, silence_seconds=60))

    busy(house, watcher, 90)

    assert len(house.heap.keys) == 1


def test_a_digest_comes_though_the_site_is_busy(house):
    watcher = house.watcher(rule(limits=Limits(a_minute=2)), held_ms=0)

    busy(house, watcher, 9)

    assert sum("held" in name for name in house.heap.keys) > 0


def test_a_backlog_that_is_being_looked_at_is_no_silence(house):
    """The match that ends the silence may be among what waits."""
    house.run(house.watcher(rule(matches=hears_paid, silence_seconds=900)))
    house.clock.on(1)
    for _ in range(2 * ROWS):
        house.push_now(evt="noise")
    house.clock.on(800)
    house.push_now()
    house.clock.on(800)
    watcher = house.watcher(rule(matches=hears_paid, silence_seconds=900))

    for _ in range(5):
        watcher.step()
        house.clock.on(2)

    assert house.heap.keys == []


def test_what_another_watcher_has_claimed_is_no_silence(house):
    other = house.watcher(rule(silence_seconds=900))
    other.step()
    house.clock.on(899)
    house.push_now()
    other._spool.claim(other._holders["shop"], ROWS, 10**6)  # about to decide
    house.clock.on(2)

    house.watcher(rule(silence_seconds=900)).step()

    assert house.heap.keys == []


def test_a_rule_that_was_taken_out_is_judged_from_its_return(house):
    house.watcher(rule(silence_seconds=900)).step()
    house.clock.on(5)
    house.watcher(rule()).step()
    house.clock.on(86_400)
    house.watcher(rule(silence_seconds=900)).step()

    assert house.heap.keys == []


def test_a_changed_condition_is_judged_from_its_change_and_the_same_one_goes_on(house):
    house.watcher(rule(silence_seconds=900, when="{'evt': 'a'}")).step()
    house.clock.on(901)
    house.watcher(rule(silence_seconds=900, when="{'evt': 'b'}")).step()
    changed = list(house.heap.keys)
    house.clock.on(901)
    house.watcher(rule(silence_seconds=900, when="{'evt': 'b'}")).step()

    assert changed == []
    assert len(house.heap.keys) == 1


def test_after_trouble_with_redis_nothing_is_silent_for_a_minute(house):
    """arms' journal brings what came meanwhile."""
    watcher = house.watcher(rule(), rule("quiet", sites=["mail"], silence_seconds=900), late_seconds=60)
    watcher.step()
    house.push(1)
    house.heap.trouble = [SpoolUnclearError("away")]
    house.clock.on(901)
    watcher.step()
    house.clock.on(50)
    house.run(watcher)
    early = [name for name in house.heap.keys if "silence" in name]
    house.clock.on(11)
    house.run(watcher)

    assert early == []
    assert [name.split()[0] for name in house.heap.keys if "silence" in name] == ["quiet:silence"]


def test_nothing_is_silent_in_the_first_minute_after_a_start(house):
    """Redis, too, may have been away, and arms' journal not be empty yet."""
    quiet = rule("quiet", silence_seconds=900)
    house.watcher(quiet).step()
    house.clock.on(901)
    watcher = house.watcher(quiet, late_seconds=60)
    house.run(watcher)
    early = list(house.heap.keys)
    house.clock.on(61)
    house.run(watcher)

    assert early == []
    assert [name.split()[0] for name in house.heap.keys] == ["quiet:silence"]


def test_a_dead_letter_is_tried_with_the_rule_as_it_is_now(house):
    house.push(1)
    house.run(house.watcher(rule()))
    [telling] = house.heap.put_in
    digest = replace(telling, key="paid:held 1795000000000:0")
    for one in (telling, digest):
        house.alerts.fail(asdict(one), "the template fails", 1)
    house.alerts.fail({"key": "strange"}, "of another release", 1)
    house.alerts.retry([telling.key, digest.key, "strange"])
    mended = rule(tell=({"to": "desk", "text": "mended"},))

    house.watcher(mended).step()

    texts = {one.key: one.action["text"] for one in house.heap.put_in[1:]}
    assert texts == {telling.key: "mended", digest.key: telling.action["text"]}
    assert [letter.telling["key"] for letter in house.alerts.failed()] == ["strange"]


def test_a_dead_letter_is_tried_once_more(house):
    house.push(1)
    watcher = house.watcher(rule())
    house.run(watcher)
    [telling] = house.heap.put_in
    house.alerts.fail({name: getattr(telling, name) for name in telling.__slots__}, "down", 1)
    house.alerts.retry([telling.key])

    house.clock.on(2)
    watcher.step()

    assert [one.key for one in house.heap.put_in] == [telling.key] * 2
    assert house.alerts.again() == []


def test_away_redis_is_told_and_waited_for(house):
    class Away:
        def __getattr__(self, name):
            raise SpoolUnclearError("away")

    watcher = house.watcher(rule())
    watcher._spool = Away()

    assert watcher.step() is False


def test_release_leaves_no_writer_behind(house):
    watcher = house.watcher(rule())
    house.run(watcher)

    watcher.release()

    assert house.client.keys("*workers") == []


class Another:
    """Another Redis, in which the site `shop` lives, while what is decided is kept in the house's."""

    def __init__(self, own_redis) -> None:
        self.client = own_redis.client()
        self.spool, self.alerts = Spool(connect(own_redis.settings)), Alerts(connect(own_redis.settings))

    def push(self, *numbers: int) -> None:
        self.client.lpush(key("shop", "alerts"), *(records.encode(record(number)) for number in numbers))


@pytest.fixture
def another(own_redis) -> Another:
    return Another(own_redis)


def test_with_several_redis_each_has_its_watcher_and_a_limit_counts_all(house, another):
    """A site that has moved has records in both; what may be told in a minute is one number for all of them."""
    limited = rule(limits=Limits(a_minute=2))
    house.push(1)
    another.push(2, 3)

    house.run(house.watcher(limited, sums_up=False))
    house.run(house.watcher(limited, sums_up=False, spool=another.spool))

    assert len(house.heap.put_in) == 2
    assert another.client.llen(key("shop", "alerts")) == house.client.llen(key("shop", "alerts")) == 0


def test_what_waits_in_any_redis_is_no_silence(house, another):
    watcher = house.watcher(rule(silence_seconds=900), watches=False, books=(house.alerts, another.alerts))
    watcher.step()
    another.push(1)
    house.clock.on(901)
    watcher.step()
    waits = len(house.heap.put_in)
    another.client.delete(key("shop", "alerts"))
    house.clock.on(2)

    watcher.step()

    assert (waits, len(house.heap.put_in)) == (0, 1)


def test_what_a_full_list_dropped_in_any_redis_is_told(house, another):
    house.client.set(key("shop", "alerts:dropped"), 12)
    another.client.set(key("shop", "alerts:dropped"), 3)

    house.watcher(rule(), watches=False, books=(house.alerts, another.alerts)).step()

    assert sorted(one.more["count"] for one in house.heap.put_in) == [3, 12]
