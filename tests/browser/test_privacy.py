"""What the visitor has said, and what the page's owner allows: consent, GPC, DNT, no cookie, the way out; CSP, SRI."""

import base64
import hashlib
import time
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import STATIC, Visit

GPC = "Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {value: true})"
DNT = "Object.defineProperty(Navigator.prototype, 'doNotTrack', {value: '1'})"


def put(visit: Visit, site: str, attributes: str = "", body: str = "", **headers: str) -> str:
    """Put a page there; return its address."""
    visit.pages.put("/private", f"<title>Private</title>{visit.tag(site, attributes)}{body}", **headers)
    return visit.url("/private")


def kept(page: Page) -> tuple[list[str], int]:
    """Return what the browser keeps: names of cookies, and how many entries of localStorage."""
    return [one["name"] for one in page.context.cookies()], page.evaluate("localStorage.length")


def test_nothing_leaves_and_nothing_is_kept_before_the_visitor_has_answered(visit: Visit, page: Page) -> None:
    page.goto(put(visit, "anon", 'data-consent="wait"'))
    page.evaluate("oceanus.track('early')")
    page.wait_for_timeout(300)  # for nothing to come
    assert (visit.beacons, kept(page)) == ([], ([], 0))

    page.evaluate("oceanus.consent('granted')")
    page.evaluate("oceanus.track('late')")
    rows = visit.rows("anon", 3)

    assert [row["evt"] for row in rows] == ["pageview", "early", "late"]
    assert {one["consent"] for one in visit.beacons} == {"granted"}
    assert len({row["sid"] for row in rows} - {""}) == 1
    assert rows[0]["rad"] == "127.0.0.1"
    assert kept(page) == (["oceanus_sid"], 0)


def test_a_no_is_passed_on_and_takes_away_what_was_kept(visit: Visit, page: Page) -> None:
    page.goto(put(visit, "anon"))
    visit.sends(1)
    assert kept(page)[0] == ["oceanus_sid"]
    page.evaluate("oceanus.consent('denied')")
    page.evaluate("oceanus.track('after')")
    before, after = visit.rows("anon", 2)

    assert before["sid"] != ""
    assert [after[name] for name in ("sid", "rad", "lang", "scr")] == ["", "127.0.0.0", None, None]
    assert [one.get("consent") for one in visit.beacons] == [None, "denied"]
    assert visit.beacons[0]["sid"] != visit.beacons[1]["sid"]
    assert kept(page) == ([], 0)


def test_a_site_that_stores_nothing_of_those_who_object_has_no_row(visit: Visit, page: Page) -> None:
    """Its consent parameter has another name, which the tag says."""
    page.goto(put(visit, "drop", 'data-consent="denied" data-consent-name="answer"'))
    visit.sends(1)
    page.evaluate("oceanus.consent('granted')")
    page.evaluate("oceanus.track('yes')")
    visit.sends(2)
    visit.gate.beacons = [one for one in visit.gate.beacons if one.get("answer") != "denied"]

    assert [row["evt"] for row in visit.rows("drop", 1)] == ["yes"]


@pytest.mark.parametrize(("said", "signal"), [(GPC, "gpc"), (DNT, "dnt")])
def test_an_objection_that_only_the_page_can_see_is_passed_on(visit: Visit, page: Page, said: str, signal: str) -> None:
    page.add_init_script(said)

    page.goto(put(visit, "anon"))
    [row] = visit.rows("anon", 1)

    assert (row["sid"], row["rad"]) == ("", "127.0.0.0")
    assert visit.beacons[0][signal] == "1"
    assert kept(page) == ([], 0)


def test_without_a_cookie_nothing_is_kept_and_each_page_is_another_visitor(visit: Visit, page: Page) -> None:
    visit.gate.mode = "refuse"
    page.goto(put(visit, "shop", 'data-cookie="none"'))
    visit.sends(1)
    assert kept(page) == ([], 0)
    visit.gate.mode = "pass"
    page.goto(visit.url("/private"))
    rows = visit.rows("shop", 2)

    assert len({row["sid"] for row in rows}) == 2
    assert all(len(row["sid"]) == 16 for row in rows)
    assert kept(page) == ([], 0)


def test_the_cookie_belongs_to_the_domain_that_the_tag_names(visit: Visit, page: Page) -> None:
    page.goto(put(visit, "shop", 'data-cookie-domain="shop.localhost"'))
    visit.rows("shop", 1)

    [cookie] = page.context.cookies()
    assert (cookie["domain"], cookie["secure"]) == (".shop.localhost", False)


def test_a_cookie_that_is_there_is_used_and_never_written_over(visit: Visit, page: Page) -> None:
    """arms may have set it, for longer than a script may."""
    expires = round(time.time()) + 300 * 86_400
    known = {"name": "oceanus_sid", "value": "00ff00ff00ff00ff", "url": visit.url("/"), "expires": expires}
    page.context.add_cookies([known])

    page.goto(put(visit, "shop"))
    [row] = visit.rows("shop", 1)

    assert row["sid"] == "00ff00ff00ff00ff"
    assert page.context.cookies()[0]["expires"] == expires


def test_whoever_has_left_is_not_followed_until_they_come_back(visit: Visit, page: Page) -> None:
    links = '<a id="out" href="#oceanus-opt-out">Leave</a> <a id="in" href="#oceanus-opt-in">Come back</a>'
    page.goto(put(visit, "shop", body=links))
    visit.sends(1)
    page.click("#out")
    page.wait_for_function("document.cookie.includes('oceanus_off=1')")
    page.evaluate("oceanus.track('left')")
    page.goto(visit.url("/private"))
    page.evaluate("new Promise((told) => oceanus.f({evt: 'left', onload: told}))")
    page.click("#in")
    page.wait_for_function("!document.cookie.includes('oceanus_off=1')")
    page.evaluate("oceanus.track('back')")

    assert [row["evt"] for row in visit.rows("shop", 2)] == ["pageview", "back"]


def test_it_works_under_a_strict_policy_with_its_hash_and_asks_nobody_else(visit: Visit, page: Page) -> None:
    name = "okeanides.full.js"
    digest = base64.b64encode(hashlib.sha384((STATIC / "js" / name).read_bytes()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'nonce-abc'; connect-src {visit.gate.url}; "
        "require-trusted-types-for 'script'; trusted-types 'none'; base-uri 'none'"
    )
    tag = (
        f'<script nonce="abc" defer src="{visit.script(name)}" integrity="sha384-{digest}" crossorigin="anonymous"'
        ' data-site="shop" data-clicks data-outbound data-downloads data-scroll data-time data-vitals data-errors>'
        "</script>"
    )
    visit.pages.put("/strict", f'<title>Strict</title>{tag}<a href="#a">A</a>', Content_Security_Policy=policy)
    asked: list[str] = []
    refused: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: refused.append(message.text) if message.type == "error" else None)

    page.goto(visit.url("/strict"))
    page.click("a")
    rows = visit.rows("shop", 2)

    assert [row["evt"] for row in rows] == ["pageview", "linkclick"]
    assert {urlsplit(url).port for url in asked} == {visit.pages.port, visit.gate.port}
    assert [text for text in refused if "favicon" not in text and "404" not in text] == []


def test_a_script_that_was_changed_does_not_run(visit: Visit, page: Page) -> None:
    wrong = "sha384-" + base64.b64encode(bytes(48)).decode()
    visit.pages.put(
        "/changed",
        f'<script src="{visit.script()}" integrity="{wrong}" crossorigin="anonymous" data-site="shop"></script>',
    )

    page.goto(visit.url("/changed"))

    assert page.evaluate("typeof oceanus") == "undefined"
    assert [one for one in visit.beacons if one["url"] == visit.url("/changed")] == []
