"""Troubles: waits grow to a minute, are counted by table, and are over when something went well."""

from r2bq.troubles import ANYTHING, FIRST_SECONDS, MOST_SECONDS, Troubles
from tests.r2bq.crossing import Clock


def test_waits_grow_with_jitter_up_to_a_minute():
    troubles = Troubles(Clock())

    waits = [troubles.again("t") for _ in range(12)]

    assert all(FIRST_SECONDS * 2**n <= wait <= FIRST_SECONDS * 1.5 * 2**n for n, wait in enumerate(waits[:6]))
    assert all(MOST_SECONDS <= wait <= 1.5 * MOST_SECONDS for wait in waits[6:])


def test_one_table_waits_alone_and_only_for_its_time():
    clock = Clock()
    troubles = Troubles(clock)
    seconds = troubles.again("a")

    before = troubles.waits("a"), troubles.waits("b"), troubles.waits(ANYTHING)
    clock.now += seconds

    assert before == (True, False, False)
    assert (troubles.waits("a"), troubles.times("a")) == (False, 1)


def test_what_went_well_is_over_and_the_general_trouble_with_it():
    troubles = Troubles(Clock())
    troubles.again()
    troubles.again("a")
    troubles.again("b")

    troubles.over("a")

    assert [troubles.times(name) for name in (ANYTHING, "a", "b")] == [0, 0, 1]
