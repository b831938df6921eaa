from ipaddress import IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from arms.rates import Rates, network

steps = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3, allow_nan=False)), max_size=200)


@given(steps, st.floats(0.1, 50), st.integers(1, 20))
def test_nobody_sends_more_than_the_burst_and_the_rate_and_nobody_pays_for_another(
    sent: list[tuple[str, float]], per_second: float, burst: int
) -> None:
    rates = Rates(per_second, burst)
    now, taken, tokens, filled = 0.0, [], dict.fromkeys("abc", float(burst)), dict.fromkeys("abc", 0.0)

    for address, seconds in sent:
        now += seconds
        tokens[address] = min(burst, tokens[address] + (now - filled[address]) * per_second)
        filled[address] = now
        if abs(tokens[address] - 1) < 1e-6:  # on the edge a float may fall on either side
            return
        wait = rates.take(address, now)
        assert (wait == 0) == (tokens[address] >= 1)
        tokens[address] -= wait == 0
        taken.append((address, now)) if wait == 0 else None

    for address in "abc":
        moments = [moment for one, moment in taken if one == address]
        for first in range(len(moments)):
            for last in range(first, len(moments)):
                most = burst + (moments[last] - moments[first]) * per_second
                assert last - first + 1 <= most + 1e-6


@given(st.floats(0.1, 50), st.integers(1, 20))
def test_after_the_seconds_that_are_told_there_is_one_to_take(per_second: float, burst: int) -> None:
    rates = Rates(per_second, burst)
    for _ in range(burst):
        assert rates.take("a", 5.0) == 0

    seconds = rates.take("a", 5.0)

    assert 0 < seconds <= 1 / per_second + 1e-6
    assert rates.take("a", 5.0 + seconds) == 0
    assert rates.take("a", 5.0 + seconds) > 0


@given(st.lists(st.integers(0, 50), max_size=300))
def test_no_more_addresses_are_remembered_than_may_be_and_the_latest_are(sent: list[int]) -> None:
    rates = Rates(1, 1, most=10)
    for number in sent:
        rates.take(str(number), 0.0)

    assert len(rates) == min(10, len(set(sent)))


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_the_addresses_of_an_ipv6_network_share_a_bucket(first: int, second: int) -> None:
    net = 0x20010DB8000000010000000000000000

    assert network(str(IPv6Address(net | first))) == network(str(IPv6Address(net | second)))
    assert network(str(IPv6Address(net | first))) != network(str(IPv6Address((net + (1 << 64)) | first)))
    assert network("192.0.2.1") == "192.0.2.1"
    assert network(":") == ":"
