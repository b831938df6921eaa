from hypothesis import given
from hypothesis import strategies as st

from arms.caps import Caps, seconds_left
from oceanus.records import DAY_US

DAY, NEXT = "20261123", "20261124"


@given(st.integers(1, 30), st.lists(st.one_of(st.just("here"), st.integers(0, 40)), max_size=60))
def test_a_site_is_full_when_redis_or_this_process_has_counted_its_cap(cap: int, told: list[str | int]) -> None:
    caps = Caps({"shop": cap})
    count = 0

    for one in told:
        assert caps.is_full("shop", DAY) == (count >= cap)
        if isinstance(one, int):
            caps.learn("shop", DAY, one)
            count = max(count, one)
        else:
            caps.add("shop", DAY)
            count += 1

    assert caps.is_full("shop", DAY) == (count >= cap)


def test_a_new_day_begins_with_nothing_and_tells_its_news_once() -> None:
    caps = Caps({"shop": 1})
    caps.learn("shop", DAY, 1)
    assert (caps.is_full("shop", DAY), caps.is_news("shop", DAY), caps.is_news("shop", DAY)) == (True, True, False)

    assert not caps.is_full("shop", NEXT)
    assert caps.is_news("shop", NEXT)


def test_yesterday_s_beacons_fill_no_cap_of_today() -> None:
    caps = Caps({"shop": 1})
    caps.learn("shop", NEXT, 0)

    caps.add("shop", DAY)
    caps.learn("shop", DAY, 5)

    assert not caps.is_full("shop", NEXT)


def test_a_site_without_a_cap_is_never_full() -> None:
    caps = Caps({"shop": 1})
    caps.add("other", DAY)
    caps.learn("other", DAY, 10**9)

    assert not caps.is_full("other", DAY)


@given(st.integers(0, 10**16))
def test_the_seconds_left_end_at_midnight(now_us: int) -> None:
    left_us = seconds_left(now_us) * 1_000_000

    assert left_us <= DAY_US
    assert (now_us + left_us) // DAY_US == now_us // DAY_US + 1
    assert (now_us + left_us) % DAY_US < 1_000_000
