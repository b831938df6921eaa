"""No beacon is lost and none is doubled: offline, refused, cut off, unanswered, blocked, its tab closed meanwhile."""

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.conftest import Visit, not_in_firefox

AN_HOUR_MS = 3_600_000


def put(visit: Visit, path: str = "/page", attributes: str = "", **headers: str) -> str:
    """Put a page with the tag for `shop` there; return its address."""
    visit.pages.put(path, f"<title>{path}</title>{visit.tag('shop', attributes)}", **headers)
    return visit.url(path)


def names(visit: Visit) -> list[tuple[str, str | None]]:
    """Return each beacon that came to the gate: its event, and whether it says that it was sent before."""
    return [(one["evt"], one.get("re")) for one in visit.beacons]


@pytest.mark.parametrize("trouble", ["refuse", "cut", "deaf"])
def test_what_fails_for_a_while_is_sent_again_and_is_one_row(visit: Visit, page: Page, trouble: str) -> None:
    """503, a connection that is cut, an answer that is lost: in the last case the first try had landed."""
    visit.gate.mode = trouble

    page.goto(put(visit))
    visit.sends(1)
    page.evaluate("oceanus.track('meanwhile')")
    visit.gate.mode = "pass"
    rows = visit.rows("shop", 2)

    assert [row["evt"] for row in rows] == ["pageview", "meanwhile"]
    assert names(visit)[-2:] == [("pageview", "1"), ("meanwhile", None)]
    page.wait_for_function("Object.keys(localStorage).length == 0")


def test_what_happens_offline_is_sent_when_the_network_is_back(visit: Visit, page: Page) -> None:
    page.goto(put(visit))
    visit.sends(1)
    page.context.set_offline(True)
    for name in ("a", "b", "c"):
        page.evaluate("(name) => oceanus.track(name)", name)
    page.wait_for_function("Object.keys(localStorage).length == 3")
    page.context.set_offline(False)

    rows = visit.rows("shop", 4)
    assert sorted(row["evt"] for row in rows) == ["a", "b", "c", "pageview"]


@not_in_firefox  # a page that closes is not kept offline there
def test_what_an_offline_visitor_left_is_sent_by_the_next_page(visit: Visit, context: BrowserContext) -> None:
    page, address = context.new_page(), put(visit)
    page.goto(address)
    visit.sends(1)
    context.set_offline(True)
    page.evaluate("oceanus.track('offline', {n: 1})")
    page.wait_for_function("Object.keys(localStorage).length == 1")
    page.close()
    context.set_offline(False)

    later = context.new_page()
    later.clock.install()
    later.goto(address)
    later.wait_for_function("Object.keys(localStorage).length == 1")  # its page view is answered: no try to be given up
    later.clock.fast_forward(AN_HOUR_MS)
    rows = visit.rows("shop", 3)

    assert {row["evt"]: row["late"] for row in rows}["offline"] in range(3600, 3700)
    assert names(visit) == [("pageview", None), ("pageview", None), ("offline", "1")]


def test_a_tab_that_is_closed_in_mid_send_loses_nothing_and_doubles_nothing(
    visit: Visit, context: BrowserContext
) -> None:
    page, address = context.new_page(), put(visit)
    page.goto(address)
    visit.sends(1)
    visit.gate.mode = "slow"
    page.evaluate("oceanus.track('closing')")
    page.close()
    visit.gate.mode = "pass"

    later = context.new_page()
    later.clock.install()
    later.goto(address)
    later.clock.fast_forward(31_000)
    later.wait_for_function("Object.keys(localStorage).length == 0")

    rows = visit.rows("shop", 3)
    assert sorted(row["evt"] for row in rows) == ["closing", "pageview", "pageview"]
    assert ("closing", "1") in names(visit)


def test_another_page_leaves_alone_what_may_still_be_on_its_way(visit: Visit, context: BrowserContext) -> None:
    address = put(visit)
    first = context.new_page()
    visit.gate.mode = "slow"
    first.goto(address)
    second = context.new_page()
    second.goto(address)

    assert len(visit.rows("shop", 2)) == 2
    assert names(visit) == [("pageview", None), ("pageview", None)]


def test_what_waits_goes_out_together_when_the_page_is_left(visit: Visit, page: Page) -> None:
    visit.gate.mode = "refuse"
    page.clock.install()  # so that it does not try again by itself
    with page.expect_response("**/swallow/shop"):
        page.goto(put(visit))
    for name in ("a", "b", "c"):
        page.evaluate("(name) => oceanus.track(name)", name)
    visit.gate.mode = "pass"
    page.goto("about:blank")
    rows = visit.rows("shop", 4)

    assert [row["evt"] for row in rows] == ["pageview", "a", "b", "c"]
    assert names(visit)[1:] == [("pageview", "1"), ("a", None), ("b", None), ("c", None)]
    assert visit.requests == ["POST /swallow/shop refuse", "POST /swallow/shop pass"]


def test_many_events_at_once_are_few_requests(visit: Visit, page: Page) -> None:
    page.goto(put(visit))
    visit.sends(1)
    page.evaluate("for (let n = 0; n < 80; n++) oceanus.track('many', {n, text: 'x'.repeat(1000)})")
    rows = visit.rows("shop", 81)

    assert len({row["jsn"] for row in rows[1:]}) == 80
    assert len(visit.requests) < 8


def test_no_more_than_a_hundred_wait_and_the_newest_are_kept(visit: Visit, page: Page) -> None:
    visit.gate.mode = "refuse"
    page.clock.install()
    page.goto(put(visit, attributes='data-autosend="off"'))
    page.evaluate("for (let n = 0; n < 150; n++) oceanus.track('e' + n)")
    page.wait_for_function("Object.keys(localStorage).length == 100")
    visit.gate.mode = "pass"
    page.goto("about:blank")
    visit.sends(100)

    kept = {one["evt"] for one in visit.beacons}
    assert {f"e{number}" for number in range(51, 150)} <= kept


@pytest.mark.parametrize(
    ("missing", "method"),
    [
        ("delete window.fetch", "POST"),
        ("delete Request.prototype.keepalive", "POST"),
        ("delete window.fetch; delete Navigator.prototype.sendBeacon", "GET"),
        ("window.fetch = () => { throw 1 }; Navigator.prototype.sendBeacon = () => false", "GET"),
        ("window.fetch = () => Promise.reject(new TypeError('blocked'))", "GET"),
    ],
)
def test_a_browser_that_cannot_do_so_sends_in_another_way(visit: Visit, page: Page, missing: str, method: str) -> None:
    page.add_init_script(missing)

    page.goto(put(visit))
    page.evaluate("oceanus.track('b', {text: '靴 & boots + %41'})")
    rows = visit.rows("shop", 2)

    assert [row["evt"] for row in rows] == ["pageview", "b"]
    assert rows[1]["jsn"] == '{"text":"靴 & boots + %41"}'
    assert {request.split()[0] for request in visit.requests} == {method}


def test_a_policy_that_allows_images_alone_costs_one_failed_try(visit: Visit, page: Page) -> None:
    """As with pages that carry the original's snippet, whose policy was written for its image."""
    policy = f"default-src 'none'; script-src {visit.gate.url}; img-src {visit.gate.url}"

    page.goto(put(visit, Content_Security_Policy=policy))
    visit.sends(1)
    page.evaluate("oceanus.track('b')")

    assert [row["evt"] for row in visit.rows("shop", 2)] == ["pageview", "b"]
    assert names(visit) == [("pageview", "1"), ("b", None)]
