"""What r2bq counts of freshness is what prometheus_client's own histogram would."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from r2bq.metrics import Freshness

WAITED_US = st.integers(0, 7_200_000_000) | st.sampled_from((100_000, 250_000, 3_600_000_000))


@given(st.lists(st.lists(WAITED_US, max_size=5), max_size=4))
def test_freshness_is_counted_as_the_library_counts_one_by_one(flights):
    ours, theirs = Freshness(), CollectorRegistry()
    one_by_one = Histogram("oceanus_r2bq_freshness_seconds", "x", ["site"], buckets=Freshness.ENDS, registry=theirs)

    for waited_us in flights:
        ours.observe("shop", [10**12 - one for one in waited_us], 10**12)
        for one in waited_us:
            one_by_one.labels("shop").observe(one / 1e6)

    [found] = ours.collect()
    for sample in found.samples:
        expected = theirs.get_sample_value(sample.name, sample.labels) or 0.0
        assert sample.value == pytest.approx(expected, abs=1e-6)
    assert bool(found.samples) == bool(flights)


def test_a_record_of_the_future_is_fresh():
    ours = Freshness()

    ours.observe("shop", [10], 0)

    [found] = ours.collect()
    assert {sample.value for sample in found.samples if sample.name.endswith("_bucket")} == {1}
