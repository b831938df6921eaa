"""Shards: which Redis a site lives in, and several Redis read as one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oceanus import ledger, settings
from oceanus.errors import MisconfiguredError, SpoolUnclearError
from oceanus.ledger import Ledger, Totals
from oceanus.settings import RedisSettings
from oceanus.shards import Spools, shards, together
from oceanus.spool import Holder, Look, Spool, connect
from tests.conftest import RedisProcess
from tests.oceanus.test_spool import MINUTE, a_push, fly


def read(placed: str) -> RedisSettings:
    return settings.read(RedisSettings, {"REDIS_PD_SERVICE_HOST": "redis-1", "REDIS_SHARDS": placed})


def test_an_address_of_ipv6_stands_in_brackets_and_its_host_without():
    chosen = shards(read("big=[::1]:6380"), ["big"])

    assert (chosen.home("big"), chosen.redis["[::1]:6380"].host) == ("[::1]:6380", "::1")
    assert chosen.redis["[::1]:6380"].address == "[::1]:6380"
    assert chosen.at("[::1]:6380") == "[::1]:6380"


def test_without_shards_every_site_lives_in_the_default_redis():
    chosen = shards(read(""), ["shop"])

    assert list(chosen.redis) == [""]
    assert chosen.home("shop") == ""


def test_a_site_lives_where_it_is_said_and_every_redis_is_known():
    chosen = shards(read("big=redis-2:6379, bigger=redis-3:7000 redis-4:6379"), ["big", "bigger", "shop"])

    assert {name: (one.host, one.port) for name, one in chosen.redis.items()} == {
        "": ("redis-1", 6379),
        "redis-2:6379": ("redis-2", 6379),
        "redis-3:7000": ("redis-3", 7000),
        "redis-4:6379": ("redis-4", 6379),
    }
    assert [chosen.home(site) for site in ("big", "bigger", "shop")] == ["redis-2:6379", "redis-3:7000", ""]


def test_the_default_redis_by_its_address_is_the_default_redis():
    chosen = shards(read("big=redis-1:6379,redis-1:6379"), ["big"])

    assert (list(chosen.redis), chosen.home("big")) == ([""], "")
    assert (chosen.at("redis-1:6379"), chosen.at("redis-9:6379")) == ("", None)


def test_several_sites_may_live_in_one_redis():
    chosen = shards(read("a=redis-2:1,b=redis-2:1"), ["a", "b"])

    assert list(chosen.redis) == ["", "redis-2:1"]
    assert chosen.home("a") == chosen.home("b") == "redis-2:1"


@pytest.mark.parametrize(
    "placed", ["redis-2", "big=redis-2", "=redis-2:6379", "big=:6379", "big=redis-2:port", "a=b:1,a=c:1", "big=h:70000",
               "redis://redis-2:6379"],
)  # fmt: skip
def test_a_wrong_place_is_one_line_that_names_the_variable(placed):
    with pytest.raises(MisconfiguredError) as caught:
        read(placed)

    assert [line.partition("=")[0] for line in caught.value.mistakes] == ["REDIS_SHARDS"]


def test_a_site_that_is_not_declared_is_one_line_with_the_remedy():
    with pytest.raises(MisconfiguredError) as caught:
        shards(read("shop=redis-2:1,gone=redis-3:1"), ["shop"])

    [line] = caught.value.mistakes
    assert line.startswith("REDIS_SHARDS: sites.yaml declares no site gone")
    assert line.endswith("redis-3:1")


@pytest.fixture
def both(redis_server: RedisProcess, own_redis: RedisProcess) -> Spools:
    """Two Redis; the site `shop` has moved from the default one to the other."""
    every = {"": Spool(connect(redis_server.settings)), "other:1": Spool(connect(own_redis.settings))}
    return Spools(every, {"shop": "other:1"})


def test_what_two_redis_hold_of_a_site_is_told_as_one(both, redis_server, own_redis):
    fly(redis_server, [a_push([b"1", b"2"])])
    fly(own_redis, [a_push([b"3"])])

    found = both.ledger("shop")

    assert (both.look("shop").queue, both.home("shop"), both.sites()) == (3, "other:1", {"shop"})
    assert (found.whole.accepted, found.waiting, found.minutes[MINUTE].accepted) == (3, 3, 3)
    assert {name: look.queue for name, look in both.looks("shop").items()} == {"": 2, "other:1": 1}


def test_a_glance_at_two_redis_is_the_look_at_both(both, redis_server, own_redis):
    fly(redis_server, [a_push([b"1", b"2"])])
    fly(own_redis, [a_push([b"3"]), replace(a_push([b"4"]), site="quiet")])

    found = both.glances(["shop", "quiet"], [MINUTE[:8]])

    assert {name: (look.queue, look.ledger[f"{MINUTE[:8]}a"]) for name, look in found.items()} == {
        "shop": (3, 3), "quiet": (1, 1),
    }  # fmt: skip


def test_what_fails_names_its_redis(both, own_redis):
    own_redis.kill()

    with pytest.raises(SpoolUnclearError, match=r"^other:1: Redis gave no answer"):
        both.ledger("shop")


def test_a_resend_that_is_judged_elsewhere_is_on_its_way(spool, redis_server):
    eid = "019a4b6e-3c00-7abc-8def-0123456789ab"
    fly(redis_server, [replace(a_push([b"1"]), source="resends", records=[b'{"eid":"%s"}' % eid.encode()])])
    mine = Holder("shop", "resends", "w1", "w1")
    spool.register(mine)

    waits = spool.on_the_way("shop", judged=True)
    spool.claim(mine, 10, 10**6)

    assert (waits, spool.on_the_way("shop"), spool.on_the_way("shop", judged=True)) == (set(), set(), {eid})


_TOTALS = st.builds(Totals, accepted=st.integers(0, 9), settled=st.integers(0, 9), accepted_digest=st.integers(0, 99))
_BUCKETS = st.dictionaries(st.sampled_from(["20261121", "20261122", "20261123"]), _TOTALS)
_LEDGERS = st.builds(
    lambda days, waiting, epoch: Ledger(
        days=days, minutes={}, whole=ledger.added(days.values()), waiting=waiting, epoch_ms=epoch
    ),
    _BUCKETS,
    st.integers(0, 9),
    st.none() | st.integers(1, 9),
)


@given(st.lists(_LEDGERS, min_size=1, max_size=4))
def test_nothing_that_any_ledger_counts_is_lost_in_the_sum(ledgers):
    found = ledger.summed(ledgers)

    assert found.whole == ledger.added(one.whole for one in ledgers)
    assert ledger.added(found.days.values()) == found.whole
    assert found.waiting == sum(one.waiting for one in ledgers)
    assert found.epoch_ms is None or found.epoch_ms in {one.epoch_ms for one in ledgers}


@given(st.lists(st.dictionaries(st.sampled_from(["20261122a", "20261122s", "last"]), st.integers(0, 99)), min_size=1))
def test_looks_add_up_and_the_newest_beacon_is_the_newest(counted):
    looks = [Look(queue=1, claimed=2, waiting_failed=3, oldest=[b"x"], ledger=one) for one in counted]

    found = together(looks)

    assert (found.queue, found.claimed, found.waiting_failed) == (len(looks), 2 * len(looks), 3 * len(looks))
    assert found.ledger.get("20261122a", 0) == sum(one.get("20261122a", 0) for one in counted)
    assert found.ledger.get("last", 0) == max(one.get("last", 0) for one in counted)
