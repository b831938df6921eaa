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


@given(st.lists(st.text(max_size=20)), st.integers(1, 4))
def test_a_client_cannot_choose_its_address_by_what_it_puts_in_front(claimed: list[str], proxies: int) -> None:
    seen = ["203.0.113.7", *["10.0.0.1"] * (proxies - 1)]

    assert client_address(",".join([*claimed, *seen]), "10.0.0.9", proxies) == "203.0.113.7"


@given(st.text(max_size=40))
def test_what_is_no_address_never_looks_like_one_with_rubbish_around(text: str) -> None:
    address = plain_address(text)

    assert not address or is_address(address) or set(address) <= set("0123456789abcdefABCDEF:.")
