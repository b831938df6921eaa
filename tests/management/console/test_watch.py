"""The watch, on a real Redis: what it sees in a look, what it hears, and what it says where Redis is away."""

import threading
import time

import pytest

from management.console.history import History
from management.console.stream import Stream
from management.console.watch import Watch
from management.status import Journal
from oceanus import records
from oceanus.pushes import Push
from oceanus.shards import Spools
from oceanus.spool import Spool, connect
from tests.conftest import RedisProcess, until
from tests.oceanus.test_spool import fly


def a_push(site: str, many: int, source: str = "queue") -> Push:
    now_us = time.time_ns() // 1000
    some = [{"v": 1, "eid": records.mint(now_us), "dt": records.time_text(now_us)} for _ in range(many)]
    return Push(
        site=site, source=source, minute=records.minute(some[0]["dt"]), last_ms=now_us // 1000,
        digest=sum(records.digest(one["eid"]) for one in some), records=[records.encode(one) for one in some],
    )  # fmt: skip


def a_watch(server: RedisProcess, *sites: str, journal: Journal | None = None) -> Watch:
    spools = Spools({"": Spool(connect(server.settings))}, {})
    return Watch(spools, sites, Stream(), History(), lambda: journal)


def test_a_look_tells_what_waits_and_what_came_since_the_look_before(redis_server):
    watch = a_watch(redis_server, "shop", "quiet", journal=Journal(records=3, bytes=9, age_seconds=1.0))
    watch.look()
    fly(redis_server, [a_push("shop", 3), a_push("shop", 2, "failed"), a_push("removed", 1)])
    watch.seldom()

    moment = watch.look()

    shop = moment.sites["shop"]
    assert (shop.queue, shop.claimed, shop.accepted, shop.failed, shop.landed) == (3, 0, 3, 2, 0)
    assert (shop.rate > 0, shop.failing > 0, shop.oldest >= 0, shop.last is not None) == (True, True, True, True)
    assert (moment.sites["quiet"].queue, moment.sites["quiet"].last, moment.sites["removed"].queue) == (0, None, 1)
    assert (moment.trouble, moment.told()["arms"]["journalled"]) == ("", 3)
    assert set(watch.history.told()["sites"]) == {"shop", "quiet", "removed"}  # type: ignore[call-overload]


def test_an_away_redis_is_said_in_a_sentence_and_is_a_gap(own_redis):
    watch = a_watch(own_redis, "shop")
    watch.look()
    own_redis.kill()

    moment = watch.look()
    watch.seldom()

    assert moment.sites == {}
    assert moment.trouble.startswith("Redis gave no answer")
    assert watch.history.told()["sites"]["shop"]["queue"] == [0.0, None]  # type: ignore[index,call-overload]


def test_what_is_accepted_is_heard_with_its_site_and_again_after_redis_was_away(own_redis):
    watch = a_watch(own_redis, "shop", "other")
    watch.start()
    client = own_redis.client()
    until(lambda: client.pubsub_numsub("oceanus:{shop}:live")[0][1] == 1)
    fly(own_redis, [a_push("shop", 2), a_push("other", 1)])
    until(lambda: len(_heard(watch)) == 3)
    own_redis.kill()
    until(lambda: "records are not heard" in watch.moment.trouble)
    own_redis.start()
    until(lambda: client.pubsub_numsub("oceanus:{shop}:live")[0][1] == 1)
    fly(own_redis, [a_push("shop", 1)])

    until(lambda: len(_heard(watch)) == 4)
    until(lambda: watch.moment.trouble == "")
    assert sorted(one.site for one in _heard(watch)) == ["other", "shop", "shop", "shop"]
    watch.stop()
    until(lambda: not [one for one in threading.enumerate() if one.name.startswith(("hears", "_look", "_seldom"))])


def test_a_thread_that_ends_by_a_surprise_is_told_of(redis_server):
    def broken() -> Journal | None:
        raise KeyError("nobody foresaw this")

    surprised = threading.Event()
    spools = Spools({"": Spool(connect(redis_server.settings))}, {})
    watch = Watch(spools, ["shop"], Stream(), History(), broken, surprised.set)

    watch.start()

    assert surprised.wait(30)
    watch.stop()


@pytest.mark.parametrize("kind", ["string", "wrong ledger"])
def test_what_somebody_else_has_put_under_a_key_of_ours_hides_no_other_site(redis_server, kind):
    client = redis_server.client()
    name = "oceanus:{shop}:queue" if kind == "string" else "oceanus:{shop}:ledger"
    client.set(name, "foreign")
    fly(redis_server, [a_push("other", 2)])
    watch = a_watch(redis_server, "shop", "other")

    moment = watch.look()

    assert (moment.trouble, moment.sites["shop"].queue, moment.sites["other"].queue) == ("", 0, 2)


def _heard(watch: Watch) -> list:  # type: ignore[type-arg]
    return watch.stream.since(0, lambda one: True, 100).records
