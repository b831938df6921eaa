import pytest
from hypothesis import given
from hypothesis import strategies as st

from arms.arrival import client_address, plain_address
from oceanus.rules import is_address


@pytest.mark.parametrize(
    ("forwarded", "proxies", "address"),
    [
        (None, 0, "10.0.0.9"),
        ("6.6.6.6", 0, "10.0.0.9"),
        ("1.2.3.4", 1, "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4", 1, "1.2.3.4"),
        ("1.2.3.4, 130.211.0.1", 2, "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4, 130.211.0.1", 2, "1.2.3.4"),
        ("unknown, 1.2.3.4, 130.211.0.1", 2, "1.2.3.4"),
        ("6.6.6.6", 2, "10.0.0.9"),
        ("[2001:db8::1]:443", 1, "2001:db8::1"),
        ("1.2.3.4:5678", 1, "1.2.3.4"),
        ("::ffff:1.2.3.4", 1, "1.2.3.4"),
        ("unknown", 1, "10.0.0.9"),
    ],
)
def test_the_client_is_whom_the_outermost_trusted_proxy_saw(forwarded: str | None, proxies: int, address: str) -> None:
    assert client_address(forwarded, "10.0.0.9", proxies) == address


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.7,34.149.20.8", "203.0.113.7"),  # as Google writes it: client, its own address, no blank between
        ("203.0.113.7, 34.149.20.8", "203.0.113.7"),
        ("10.1.2.3,203.0.113.7,34.149.20.8", "203.0.113.7"),  # the client's own proxy, or a claim
        ("10.1.2.3, 192.168.0.1,203.0.113.7,34.149.20.8", "203.0.113.7"),
        ("127.0.0.1,203.0.113.7,34.149.20.8", "203.0.113.7"),
        ("2001:db8::7,2600:1901:0:a1b2::", "2001:db8::7"),
        ("unknown,203.0.113.7,34.149.20.8", "203.0.113.7"),
        (None, "35.191.10.3"),  # a health check of the balancer carries none: its own address, which is not internal
    ],
)
def test_behind_googles_balancer_two_are_trusted_its_address_and_its_front_end(
    forwarded: str | None, address: str
) -> None:
    assert client_address(forwarded, "35.191.10.3", 2) == address


@given(st.lists(st.text(max_size=20)), st.integers(1, 4))
def test_a_client_cannot_choose_its_address_by_what_it_puts_in_front(claimed: list[str], proxies: int) -> None:
    seen = ["203.0.113.7", *["10.0.0.1"] * (proxies - 1)]

    assert client_address(",".join([*claimed, *seen]), "10.0.0.9", proxies) == "203.0.113.7"


@given(st.text(max_size=40))
def test_what_is_no_address_never_looks_like_one_with_rubbish_around(text: str) -> None:
    address = plain_address(text)

    assert not address or is_address(address) or set(address) <= set("0123456789abcdefABCDEF:.")
