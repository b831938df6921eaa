"""Refusals: rows fail by BigQuery's word, but never because their table is in trouble."""

from hypothesis import given
from hypothesis import strategies as st

from r2bq import refusals

REFUSED = st.integers(1, 40).flatmap(
    lambda total: st.tuples(st.just(total), st.sets(st.integers(0, total - 1), min_size=1))
)


@given(REFUSED, st.booleans(), st.integers(0, 30))
def test_only_named_rows_fail_and_each_row_has_a_flag(refused, passes, times):
    total, bad = refused

    flags = refusals.flags(total, bad, passes=passes, times=times)

    assert flags is None or len(flags) == total
    assert {place for place, flag in enumerate(flags or "") if flag == "f"} <= bad


@given(REFUSED)
def test_where_others_pass_exactly_the_named_rows_fail(refused):
    total, bad = refused

    flags = refusals.flags(total, bad, passes=True, times=0)

    assert flags == "".join("f" if place in bad else "k" for place in range(total))


def test_most_of_many_go_back_while_none_passes_and_the_others_are_written():
    assert refusals.flags(10, set(range(6)), passes=False, times=0) == "bbbbbbkkkk"


def test_all_of_many_wait_and_after_a_while_come_a_few_at_a_time():
    assert refusals.flags(12, set(range(12)), passes=False, times=4) is None
    assert refusals.flags(12, set(range(12)), passes=False, times=5) == "b" * 7 + "k" * 5
