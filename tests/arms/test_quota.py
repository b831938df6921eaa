import orjson
from hypothesis import given
from hypothesis import strategies as st

from arms.quota import Quota

MINUTE_US = 60_000_000


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 2)), max_size=60))
def test_every_failed_record_is_kept_or_counted_once(sent: list[tuple[str, str, int]]) -> None:
    quota, kept, summaries = Quota(3), 0, []
    for site, reason, minute in sorted(sent, key=lambda one: one[2]):
        summaries += quota.due(minute * MINUTE_US)
        kept += quota.admit(site, reason, minute * MINUTE_US)
    summaries += quota.due(3 * MINUTE_US)

    assert kept + sum(sum(orjson.loads(one.raw).values()) for one in summaries) == len(sent)


def test_at_the_end_the_running_minute_is_told_too() -> None:
    quota = Quota(1)
    quota.admit("a", "x", 0)
    quota.admit("a", "x", 1)

    assert quota.due(2) == []
    assert [orjson.loads(one.raw) for one in quota.due(2, everything=True)] == [{"x": 1}]
