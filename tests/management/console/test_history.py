"""The history: rates are what was counted between two looks, and what is not known is a gap."""

from hypothesis import given
from hypothesis import strategies as st

from management.console.history import SERIES, History, Now
from oceanus.spool import Look

AT = 1_795_418_491.0
TODAY, YESTERDAY = "20261123", "20261122"


def look(queue: int = 0, claimed: int = 0, **ledger: int) -> Look:
    counted = {name.lstrip("_"): value for name, value in ledger.items()}
    return Look(queue=queue, claimed=claimed, waiting_failed=0, oldest=[], ledger=counted)


def test_a_point_is_what_was_counted_since_the_look_before():
    history = History()
    history.note(AT, TODAY, {"shop": look(_20261123a=10, _20261122a=7, _20261122x=1)})

    found = history.note(
        AT + 2,
        TODAY,
        {"shop": look(3, 2, _20261123a=16, _20261122a=9, _20261122x=1, _20261123f=4, _20261123s=5, last=1)},
    )

    assert found["shop"] == Now(
        rate=4.0, failing=2.0, queue=3, claimed=2, oldest=0.0, accepted=16, landed=5, failed=4, last=1_795_418_492.999,
    )  # fmt: skip
    assert history.told() == {
        "times": [AT, AT + 2],
        "sites": {"shop": {"rate": [0.0, 4.0], "oldest": [0.0, 0.0], "queue": [0.0, 5.0], "failing": [0.0, 2.0]}},
    }


def test_a_day_that_is_asked_for_no_more_and_a_record_that_is_sent_again_are_no_rate():
    history = History()
    history.note(AT, TODAY, {"shop": look(_20261114a=1000, _20261123f=5)})

    found = history.note(AT + 1, TODAY, {"shop": look(_20261123a=3, _20261123f=4)})

    assert (found["shop"].rate, found["shop"].failing, found["shop"].failed) == (3.0, 0.0, 4)


def test_what_was_not_seen_is_a_gap_and_the_next_point_no_peak():
    history = History()
    history.note(AT, TODAY, {"shop": look(_20261123a=1)})
    history.note(AT + 1, "", {})
    history.note(AT + 60, TODAY, {"shop": look(_20261123a=5000)})

    told = history.told()["sites"]
    assert told["shop"]["rate"] == [0.0, None, 0.0]  # type: ignore[index]


@given(st.lists(st.sets(st.sampled_from(["a", "b", "c"])), max_size=12), st.integers(1, 5))
def test_every_series_is_as_long_as_the_times_whichever_sites_come_and_go(seen, points):
    history = History(points)
    for second, names in enumerate(seen):
        history.note(AT + second, TODAY, {name: look() for name in names})

    told = history.told()
    lengths = {len(series[name]) for series in told["sites"].values() for name in SERIES}  # type: ignore[attr-defined]
    assert len(told["times"]) == min(len(seen), points)  # type: ignore[arg-type]
    assert lengths <= {len(told["times"])}  # type: ignore[arg-type]
