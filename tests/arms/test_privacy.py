import pytest
from hypothesis import given
from hypothesis import strategies as st

from arms.privacy import cut_address, mask, may_object, objects
from oceanus.sites import Privacy

ASKED = Privacy(policy="drop", consent="consent", mask=None)


@pytest.mark.parametrize(
    ("headers", "parameters", "objecting"),
    [
        ({"sec-gpc": "1"}, [], True),
        ({"dnt": "1"}, [], True),
        ({}, [("gpc", "1")], True),
        ({}, [("dnt", "1")], True),
        ({}, [("consent", "Denied")], True),
        ({"dnt": "0"}, [("gpc", "0"), ("dnt", "null"), ("consent", "granted")], False),
    ],
)
def test_an_objection_is_heard_from_the_browser_and_from_the_tracker(
    headers: dict[str, str], parameters: list[tuple[str, str]], objecting: bool
) -> None:
    assert objects(ASKED, headers, parameters) is objecting
    assert may_object(ASKED, "&".join(f"{name}={value}" for name, value in parameters)) is (objecting and not headers)


@pytest.mark.parametrize("raw", ['{"gpc": "1", "tit": "', "gpc=1&tit=%ff", "a=1;dnt=1", '[{"gpc":1'])
def test_an_objection_is_heard_in_what_cannot_be_read(raw: str) -> None:
    assert may_object(Privacy(policy="drop", consent=None, mask=None), raw)
    assert not may_object(ASKED, raw.replace("1", "12"))


@pytest.mark.parametrize(
    ("address", "cut"),
    [("203.0.113.77", "203.0.113.0"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"), ("::1", "::"), ("nonsense", "")],
)
def test_an_address_is_cut_to_its_network(address: str, cut: str) -> None:
    assert cut_address(address) == cut


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://a.example/x?token=abc&b=1", "https://a.example/x?token=&b=1"),
        ("https://a.example/x?b=1&to%6ben=abc", "https://a.example/x?b=1&to%6ben="),
        ("https://a.example/x?TOKEN=a;token=b#f", "https://a.example/x?TOKEN=;token=#f"),
        ("https://a.example/joe@example.com/?q=%3Dj%2Bx%40example.co.jp", "https://a.example//?q=%3D"),
        ("/x?tokens=abc", "/x?tokens=abc"),
        ("https://x/#token=SECRET&a=1", "https://x/#token=&a=1"),
        ("https://x/?a=1#/p?token=SECRET", "https://x/?a=1#/p?token="),
        (
            "https://x/?next=https%3A%2F%2Fy%3Ftoken%3DSECRET%26b%3D2",
            "https://x/?next=https%3A%2F%2Fy%3Ftoken%3D%26b%3D2",
        ),
        ("no query", "no query"),
    ],
)
def test_named_parameters_and_mail_addresses_are_blanked(url: str, masked: str) -> None:
    assert mask(frozenset({"token"}), url) == masked


@given(st.text(max_size=300))
def test_masking_twice_is_masking_once(url: str) -> None:
    once = mask(frozenset({"a"}), url)

    assert mask(frozenset({"a"}), once) == once
