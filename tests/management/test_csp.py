"""Whether a policy lets a page load something, as browsers judge it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from management.csp import Wanted, policies, refusing

PAGE = "https://www.shop.example/cart"
SCRIPT = "https://log.shop.example/static/js/okeanides.js"
INTEGRITY = "sha384-abc"


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        ("", True),
        ("img-src 'none'", True),
        ("default-src 'none'", False),
        ("default-src 'none'; script-src https://log.shop.example", True),
        ("script-src 'self'", False),
        ("script-src *", True),
        ("script-src https:", True),
        ("script-src http:", True),
        ("script-src log.shop.example", True),
        ("script-src LOG.shop.example", True),
        ("script-src *.shop.example", True),
        ("script-src shop.example", False),
        ("script-src *.log.shop.example", False),
        ("script-src https://log.shop.example:8443", False),
        ("script-src log.shop.example:*", True),
        ("script-src http://log.shop.example:80", True),
        ("script-src log.shop.example/static/", True),
        ("script-src log.shop.example/static", False),
        ("script-src log.shop.example/static/js/okeanides.js", True),
        ("script-src 'nonce-n1'", True),
        ("script-src 'nonce-n2'", False),
        ("script-src 'sha384-abc'", True),
        ("script-src 'sha384-abd'", False),
        ("script-src https: 'strict-dynamic'", False),
        ("script-src 'strict-dynamic' 'nonce-n1'", True),
        ("script-src-elem 'none'; script-src *", False),
        ("script-src *; script-src 'none'", True),  # of two the first counts
        ("script-src *, script-src 'none'", False),  # of two policies both
    ],
)
def test_a_script_is_loaded_as_the_policy_says(policy: str, allowed: bool) -> None:
    wanted = Wanted("script", SCRIPT, "n1", INTEGRITY)

    assert (refusing(policies([policy]), wanted, PAGE) == "") == allowed


def test_a_page_of_http_may_say_self_for_its_https() -> None:
    found = policies(["connect-src 'self'"])

    assert not refusing(found, Wanted("connect", "https://shop.example/a"), "http://shop.example/")
    assert refusing(found, Wanted("connect", "http://shop.example/a"), "https://shop.example/")
    assert refusing(found, Wanted("connect", "http://shop.example:8080/a"), "http://shop.example/")


def test_what_refuses_is_named() -> None:
    found = policies(["default-src 'self'; connect-src 'none'"])

    assert refusing(found, Wanted("connect", SCRIPT), PAGE) == "connect-src 'none'"
    assert refusing(found, Wanted("img", SCRIPT), PAGE) == "default-src 'self'"


@given(st.lists(st.text()), st.sampled_from(["script", "connect", "img"]), st.text())
def test_whatever_a_server_sends_is_judged(headers: list[str], kind: str, nonce: str) -> None:
    assert isinstance(refusing(policies(headers), Wanted(kind, SCRIPT, nonce), PAGE), str)
