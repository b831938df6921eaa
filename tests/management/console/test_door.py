"""The door: a foreign page, name or origin changes nothing and reads nothing; the token is exchanged for a cookie."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from management.console.door import COOKIE_SECONDS, TRIES, TRIES_SECONDS, Asked, Door, Refusal

TOKEN = "a-token-of-this-console"
NOW = 1_795_418_491.0
HERE = "127.0.0.1:8084"


def asked(**changes: str | None) -> Asked:
    told = {"method": "GET", "path": "/live", "host": HERE, "origin": None, "cookie": None, "fetch_site": None}
    return Asked(**(told | changes))  # type: ignore[arg-type]


def status(door: Door, **changes: str | None) -> int | None:
    refusal = door.refusal(asked(**changes), NOW)
    return refusal and refusal.status


@pytest.mark.parametrize(
    "host", [HERE, "localhost:9000", "LOCALHOST", "[::1]:8084", "10.0.0.7:8084", "ops.shop.example"]
)
def test_an_address_localhost_and_the_names_of_the_settings_are_let_in(host):
    assert status(Door("", ["Ops.shop.example"]), host=host) is None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8084", "localhost.evil.example", "127.0.0.1.evil.example", "", "a b",
     "127.0.0.1:8084:1", "[::1", "127.0.0.1@evil.example", "ops.shop.example.evil.example",
     "2130706433x", "\u2139.example"],
)  # fmt: skip
def test_a_name_that_nobody_told_us_is_refused_whatever_it_leads_to(host):
    door = Door("", ["ops.shop.example"])

    assert [status(door, host=host), status(door, host=host, path="/hc"), status(door, host=host, path="/login")] == [
        403, 403, 403,
    ]  # fmt: skip


@given(st.text(alphabet="abcxyz.-:[]@/\\ \u0130", max_size=30))
def test_no_text_but_an_address_or_localhost_is_a_host_of_ours(host):
    refusal = Door("", []).refusal(asked(host=host), NOW)

    is_local = host.lower().partition(":")[0] == "localhost" or host.startswith("[")
    assert refusal is not None or is_local


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://127.0.0.1", "http://127.0.0.1:9", "https://"]
)
def test_a_change_needs_the_console_s_own_origin(origin):
    door = Door("", [])

    assert status(door, method="POST", origin=origin) == 403
    assert status(door, method="DELETE", origin=origin) == 403
    assert status(door, method="POST", origin=f"http://{HERE}") is None
    assert status(door, method="POST", origin="https://localhost:1", host="localhost:1") is None


def test_what_another_page_fetches_is_refused_and_a_link_to_the_page_is_not():
    door = Door("", [])

    assert [status(door, fetch_site=site) for site in ("cross-site", "same-site", "same-origin", "none")] == [
        403, 403, None, None,
    ]  # fmt: skip
    assert [status(door, fetch_site="cross-site", path=path) for path in ("/", "/login")] == [None, None]
    assert status(door, fetch_site="cross-site", path="/login", method="POST", origin="http://evil.example") == 403


def test_with_a_token_nothing_but_the_login_is_open():
    door = Door(TOKEN, [])

    assert [status(door, path=path) for path in ("/login", "/hc", "/page/console.css", "/page/login.js")] == [None] * 4
    assert [status(door, path=path) for path in ("/", "/live", "/failed", "/page/main.js")] == [401] * 4
    assert not Door("", []).asks


def test_the_token_is_exchanged_for_a_cookie_that_ends():
    door = Door(TOKEN, [])

    cookie = door.enter(TOKEN, NOW)

    assert isinstance(cookie, str)
    assert TOKEN not in cookie
    assert door.refusal(asked(cookie=cookie), NOW) is None
    assert door.is_good(cookie, NOW + COOKIE_SECONDS - 1)
    assert not door.is_good(cookie, NOW + COOKIE_SECONDS + 1)
    assert not Door("another-token-of-it", []).is_good(cookie, NOW)


@given(st.text(max_size=80))
def test_no_text_is_a_cookie_and_none_with_one_character_changed(text):
    door = Door(TOKEN, [])
    cookie = door.enter(TOKEN, NOW)
    assert isinstance(cookie, str)
    place = len(text) % len(cookie)
    changed = cookie[:place] + ("0" if cookie[place] != "0" else "1") + cookie[place + 1 :]

    assert not door.is_good(text, NOW)
    assert not door.is_good(changed, NOW)
    assert not door.is_good(None, NOW)


def test_ten_wrong_tokens_a_minute_are_all_that_is_looked_at():
    door = Door(TOKEN, [])

    wrong = [door.enter(f"wrong {number}", NOW + number) for number in range(TRIES)]
    late = door.enter(TOKEN, NOW + TRIES)

    assert {one.status for one in wrong if isinstance(one, Refusal)} == {401}
    assert isinstance(late, Refusal)
    assert late.status == 429
    assert isinstance(door.enter(TOKEN, NOW + TRIES_SECONDS + 1), str)


def test_without_a_token_none_is_taken():
    assert isinstance(Door("", []).enter("", NOW), Refusal)
