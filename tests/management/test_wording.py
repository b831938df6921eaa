"""Numbers and ages as people say them."""

import pytest

from management.wording import age, counted


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.04, "0.0 s"),
        (120, "120.0 s"),
        (121, "2 min"),
        (599, "9 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172_799, "47 h"),
        (172_800, "2 d"),
    ],
)
def test_ages_beyond_two_minutes_are_whole_ones(seconds, told):
    assert age(seconds) == told


def test_one_is_singular():
    assert [counted(number, "line") for number in (0, 1, 2)] == ["0 lines", "1 line", "2 lines"]
