"""The tracker of today: one tag, a function for each thing to tell, and switches for what it watches by itself."""

import json

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import FIREFOX, Built, Visit

FULL = "okeanides.full.js"


def events(visit: Visit, site: str, count: int) -> list[tuple[str, object]]:
    """Return each row's event and its JSON."""
    return [(row["evt"], json.loads(row["jsn"])) for row in visit.rows(site, count)]


def test_the_tag_alone_is_a_page_view(visit: Visit, page: Page) -> None:
    visit.pages.put("/plain", f"<title>Plain</title>{visit.tag('shop')}<p>Text</p>")

    page.goto(visit.url("/plain"))
    [row] = visit.rows("shop", 1)

    assert (row["evt"], row["url"], row["tit"], row["ref"]) == ("pageview", visit.url("/plain"), "Plain", None)


def test_events_and_who_the_visitor_is_may_be_told_before_and_after_the_script_has_come(
    visit: Visit, page: Page
) -> None:
    visit.pages.put(
        "/told",
        f"""<script>
        var oceanus = window.oceanus || [];
        oceanus.q = [["identify", "member-7"], ["track", "early", {{plan: "pro"}}]];
        </script>{visit.tag("shop")}""",
    )

    page.goto(visit.url("/told"))
    page.evaluate("""() => {
        oceanus.track("late", {items: [1, 2.5, "three"], nested: {deep: true}});
        oceanus.identify("");
        oceanus.q.push(["track", "queued"]);
        oceanus.page({section: "b"});
    }""")
    rows = visit.rows("shop", 5)

    assert [(row["evt"], row["uid"], json.loads(row["jsn"])) for row in rows] == [
        ("early", "member-7", {"plan": "pro"}),
        ("pageview", "member-7", None),
        ("late", "member-7", {"items": [1, 2.5, "three"], "nested": {"deep": True}}),
        ("queued", None, None),
        ("pageview", None, {"section": "b"}),
    ]
    assert [row["pid"] == rows[0]["pid"] for row in rows] == [True, True, True, True, False]
    assert rows[4]["ref"] == visit.url("/told")


@pytest.mark.parametrize("way", ["navigation", "history"])
def test_each_address_of_a_single_page_application_is_a_page_view(visit: Visit, page: Page, way: str) -> None:
    if way == "history":
        page.add_init_script("Object.defineProperty(window, 'navigation', {value: undefined})")
    visit.pages.put(
        f"/app/{way}",
        f"""<title>Home</title>{visit.tag("shop")}
        <script>const go = (path) => {{ history.pushState(null, "", path); document.title = path; }};</script>""",
    )

    page.goto(visit.url(f"/app/{way}"))
    visit.sends(1)
    page.evaluate("go('cart?step=1')")
    visit.sends(2)
    page.evaluate("location.hash = 'part'")
    page.evaluate("history.replaceState({scroll: 5}, '')")
    page.evaluate("go('done')")
    visit.sends(3)
    page.go_back()
    rows = visit.rows("shop", 4)

    base = visit.url("/app/")
    assert [(row["url"], row["ref"], row["tit"]) for row in rows] == [
        (f"{base}{way}", None, "Home"),
        (f"{base}cart?step=1", f"{base}{way}", "cart?step=1"),
        (f"{base}done", f"{base}cart?step=1", "done"),
        (f"{base}cart?step=1#part", f"{base}done", "done"),
    ]
    assert len({row["pid"] for row in rows}) == 4
    assert len({row["sid"] for row in rows}) == 1


def test_a_single_page_application_can_tell_by_itself(visit: Visit, page: Page) -> None:
    visit.pages.put("/own", visit.tag("shop", 'data-spa="off" data-autosend="off"'))

    page.goto(visit.url("/own"))
    page.evaluate("history.pushState(null, '', 'elsewhere')")
    page.wait_for_timeout(200)  # twice as long as the tracker would have waited, for nothing to be sent
    page.evaluate("oceanus.page()")
    [row] = visit.rows("shop", 1)

    assert row["url"] == visit.url("/elsewhere")


def test_what_is_switched_on_is_told(visit: Visit, page: Page) -> None:
    visit.pages.put(
        "/watched",
        f"""<title>Watched</title>{visit.tag("shop", "data-outbound data-downloads data-errors", FULL)}
        <a id="out" href="{visit.partner_url("/there")}" target="_blank">There</a>
        <a id="file" href="/list.pdf" download>The list</a>
        <a id="in" href="#in">Here</a>
        <form data-oceanus-form="newsletter"><input name="email" value="a@example.com"><button>Join</button></form>
        <form id="search"><button>Search</button></form>
        <script>document.addEventListener("submit", (event) => event.preventDefault());</script>""",
    )

    page.goto(visit.url("/watched"))
    for wanted in ("#out", "#file", "#in", "[data-oceanus-form] button", "#search button"):
        page.click(wanted)
    page.evaluate("setTimeout(() => { throw new Error('broken') })")
    page.evaluate("void Promise.reject(new TypeError('refused'))")
    rows = visit.rows("shop", 6)

    told = [(row["evt"], row["url"], row["tit"]) for row in rows]
    assert told[:3] == [
        ("pageview", visit.url("/watched"), "Watched"),
        ("outbound", visit.partner_url("/there"), "[text]There"),
        ("download", visit.url("/list.pdf"), "[text]The list"),
    ]
    assert [(row["evt"], row["url"]) for row in rows[3:]] == [
        ("form", visit.url("/watched#in")),
        ("error", visit.url("/watched#in")),
        ("error", visit.url("/watched#in")),
    ]
    assert json.loads(rows[3]["jsn"]) == {"form": "newsletter"}
    assert json.loads(rows[4]["jsn"])["message"] == ("Error: broken" if FIREFOX else "Uncaught Error: broken")
    assert json.loads(rows[5]["jsn"])["message"] == "TypeError: refused"
    assert "a@example.com" not in json.dumps(visit.beacons)


def test_what_is_switched_off_is_not_told(visit: Visit, page: Page) -> None:
    visit.partner.put("/there", "<title>There</title>")
    visit.pages.put(
        "/quiet",
        f"""{visit.tag("shop", 'data-outbound="off" data-forms="off" data-time="false"', FULL)}
        <a href="{visit.partner_url("/there")}">There</a><form data-oceanus-form="f"><button>Go</button></form>
        <script>document.addEventListener("submit", (event) => event.preventDefault());</script>""",
    )

    page.goto(visit.url("/quiet"))
    page.click("button")
    page.evaluate("setTimeout(() => { throw new Error('broken') })")
    page.click("a")
    page.wait_for_url("**/there")
    visit.pages.put("/after", visit.tag("shop"))
    page.goto(visit.url("/after"))

    assert [row["evt"] for row in visit.rows("shop", 2)] == ["pageview", "pageview"]


def test_how_a_page_was_read_is_told_when_it_is_left(visit: Visit, page: Page) -> None:
    visit.pages.put(
        "/read",
        f"""<title>Read</title>{visit.tag("shop", "data-scroll data-time data-vitals", FULL)}
        <div style="height:2400px">Long</div><button style="position:fixed;top:0">Press</button>""",
    )

    page.goto(visit.url("/read"))
    page.click("button")
    page.mouse.wheel(0, 700)
    page.wait_for_function("scrollY > 600")
    page.goto("about:blank")
    view, left = visit.rows("shop", 2)

    told = json.loads(left["jsn"])
    assert (left["evt"], left["pid"], left["url"]) == ("leave", view["pid"], visit.url("/read"))
    assert 0 < told["seconds"] < 60
    assert 50 < told["scroll"] < 75
    assert {"fcp", "lcp", "ttfb"} <= set(told)
    assert told["lcp"] >= told["fcp"] > 0


def test_the_module_does_nothing_before_init_and_then_all_of_it(visit: Visit, page: Page, built: Built) -> None:
    visit.pages.put("/okeanides.mjs", "")
    visit.pages.pages["/okeanides.mjs"].body = (built.dist / "okeanides.mjs").read_bytes()
    visit.pages.pages["/okeanides.mjs"].kind = "text/javascript"
    visit.pages.put(
        "/module",
        f"""<title>Module</title><script type="module">
        import {{ identify, init, track, version }} from "/okeanides.mjs";
        track("before", {{version}});
        identify("u-1");
        init({{ endpoint: "{visit.gate.url}/swallow/shop" }});
        track("after");
        </script>""",
    )

    page.goto(visit.url("/module"))

    assert events(visit, "shop", 3) == [("before", {"version": "0.1.0"}), ("pageview", None), ("after", None)]
    assert page.evaluate("typeof oceanus") == "undefined"
