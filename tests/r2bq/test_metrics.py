"""What r2bq counts of freshness is what prometheus_client's own histogram would; of claims, those in hand alone."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from r2bq import metrics
from r2bq.metrics import GOAL_SECONDS, Claims, Freshness

WAITED_US = st.integers(0, 7_200_000_000) | st.sampled_from((100_000, 250_000, 10_000_000, 3_600_000_000))


@given(st.lists(st.lists(WAITED_US, max_size=5), max_size=4))
def test_freshness_is_counted_as_the_library_counts_one_by_one(flights):
    ours, theirs = Freshness(), CollectorRegistry()
    one_by_one = Histogram("oceanus_r2bq_freshness_seconds", "x", buckets=Freshness.ENDS, registry=theirs)

    for waited_us in flights:
        late = ours.observe([10**12 - one for one in waited_us], 10**12)
        assert late == sum(one > GOAL_SECONDS * 1e6 for one in waited_us)
        for one in waited_us:
            one_by_one.observe(one / 1e6)

    [found] = ours.collect()
    for sample in found.samples:
        expected = theirs.get_sample_value(sample.name, sample.labels) or 0.0
        assert sample.value == pytest.approx(expected, abs=1e-6)


def test_a_record_of_the_future_is_fresh():
    ours = Freshness()

    ours.observe([10], 0)

    [found] = ours.collect()
    assert {sample.value for sample in found.samples if sample.name.endswith("_bucket")} == {1}


@dataclass(frozen=True)
class Hand:
    """What holds a claim, or none."""

    place: tuple[str, str]
    held_seconds: float | None


def test_of_a_list_the_oldest_claim_is_told_and_of_one_without_nothing():
    shop, mail = ("shop", "queue"), ("mail", "queue")
    hands = [Hand(shop, 2.0), Hand(shop, 7.5), Hand(shop, None), Hand(mail, None)]

    [found] = Claims(hands).collect()

    assert [(one.labels, one.value) for one in found.samples] == [({"site": "shop", "list": "queue"}, 7.5)]


def test_a_list_that_never_held_anything_has_no_numbers_and_one_that_was_emptied_has():
    for length in (0, 4, 0):
        metrics.waits("", ("quiet", "later"), length, 0.0)
        metrics.waits("", ("quiet", "failed"), 0, 0.0)

    [found] = metrics.QUEUE.collect()
    told = {one.labels["list"]: one.value for one in found.samples if one.labels["site"] == "quiet"}
    assert told == {"later": 0}
