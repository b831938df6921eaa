"""Pages that carry the original's snippets, as their owners wrote them, and the rows that they become."""

import json
import re
from urllib.parse import urlencode

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, not_in_firefox

SNIPPET = """
<meta charset="utf-8">
<title>Shoes &amp; boots</title>
<script>
var oceanus = [];
oceanus.q = [];
oceanus.q.push({{"evt": "search", "oid": "7", "uid": "member-1", "jsn": {{"kwd": "靴", "cat": 3}}}});
</script>
<script src="{script}"></script>
<p>Shoes</p>
"""


@not_in_firefox  # a referrer of ours
def test_the_originals_snippet_sends_its_queue_and_then_a_page_view(visit: Visit, page: Page) -> None:
    visit.pages.put("/shoes", SNIPPET.format(script=visit.script()))

    page.goto(visit.url("/shoes?size=42#top"), referer="http://search.localhost/?q=shoes")
    search, view = visit.rows("bizocean", 2)

    cookie = next(one for one in page.context.cookies() if one["name"] == "oceanus_sid")
    assert re.fullmatch("[0-9a-f]{16}", cookie["value"])
    assert (cookie["path"], cookie["sameSite"], cookie["httpOnly"]) == ("/", "Lax", False)
    common = {
        "sid": cookie["value"],
        "url": visit.url("/shoes?size=42#top"),
        "ref": "http://search.localhost/?q=shoes",
        "tit": "Shoes & boots",
        "enc": "UTF-8",
        "scr": "1280x800",
        "vie": "1280x800",
        "lang": "en-GB",
        "tz": "Asia/Tokyo",
        "late": 0,
        "ver": "0.1.0",
        "pid": view["pid"],
        "rad": "127.0.0.1",
    }
    assert view == common | {"eid": view["eid"], "evt": "pageview", "uid": None, "jsn": "null"}
    assert {**search, "jsn": json.loads(search["jsn"])} == common | {
        "eid": search["eid"],
        "evt": "search",
        "uid": "member-1",
        "jsn": {"kwd": "靴", "cat": 3},
    }
    assert re.fullmatch("[0-9a-f]{16}", view["pid"])


def test_the_functions_of_the_original_do_what_they_did(visit: Visit, page: Page) -> None:
    visit.pages.put(
        "/functions",
        f"""<title>{"t" * 300}</title>
        <script>var oceanus = []; oceanus.autosend = false; var told = [];</script>
        <script src="{visit.script()}"></script>
        <script>
        const tell = (text) => () => told.push(text);
        const long = {{url: "https://a.example/" + "u".repeat(2000), ref: "r".repeat(2000)}};
        oceanus.f({{evt: "first", ...long, onload: tell("load")}});
        oceanus.q.push({{evt: "Second", oid: 3, tit: "", jsn: {{}}, sid: "not mine to say", scr: "1x1"}});
        oceanus.f({{evt: "toolongtobeanevent", onload: tell("refused")}});
        const oceanus_url = "http://127.0.0.1:9/swallow/shop";
        oceanus.f({{evt: "nowhere", oceanus_url, onerror: tell("error")}});
        </script>""",
    )

    page.goto(visit.url("/functions"))
    page.wait_for_function("told.includes('load') && told.includes('refused') && told.includes('error')")
    told = page.evaluate("oceanus.a({evt: 'x'})")

    first, second = (row for row in _accepted(visit, "bizocean", 2))
    assert (len(first["url"]), len(first["ref"]), len(first["tit"]), first["evt"]) == (1024, 1024, 256, "first")
    assert (second["evt"], second["tit"], second["jsn"]) == ("second", "t" * 256, "null")
    assert second["sid"] == first["sid"] == told["sid"] != "not mine to say"
    assert (told["oid"], told["evt"]) == ("2", "x")


def _accepted(visit: Visit, site: str, count: int) -> list[dict[str, object]]:
    """Return the rows, without what the test has sent to be refused."""
    visit.sends(count + 1)
    visit.gate.beacons = [one for one in visit.gate.beacons if one["evt"] != "toolongtobeanevent"]
    return visit.rows(site, count)


def test_clicks_on_links_are_rows_though_the_page_is_left(visit: Visit, page: Page) -> None:
    visit.pages.put(
        "/links",
        f"""<title>Links</title>
        <script>var oceanus = []; oceanus.click = true;</script><script src="{visit.script()}"></script>
        <style>a {{ position: absolute; left: 40px; top: 60px }}</style>
        <a href="next?a=1">See  <b>more</b> <img alt="a boot" src=""></a>""",
    )
    visit.pages.put("/next", "<title>Next</title>")

    page.goto(visit.url("/links"))
    page.mouse.click(45, 68)
    page.wait_for_url("**/next?a=1")
    view, click = visit.rows("bizocean", 2)

    assert (view["evt"], click["evt"]) == ("pageview", "linkclick")
    assert (click["url"], click["ref"], click["tit"]) == ("next?a=1", visit.url("/links"), "[text]See more [alt]a boot")
    assert json.loads(click["jsn"]) == {"pageX": 45, "pageY": 68}
    assert click["pid"] == view["pid"]
    assert [(one["evt"], one.get("re")) for one in visit.beacons] == [("pageview", None), ("linkclick", None)]


def test_links_can_be_bound_later(visit: Visit, page: Page) -> None:
    visit.pages.put("/later", f'<title>Later</title><script src="{visit.script()}"></script><a href="#x">Here</a>')

    page.goto(visit.url("/later"))
    page.click("a")
    page.evaluate("oceanus.click.push()")
    page.click("a")

    assert [row["evt"] for row in visit.rows("bizocean", 2)] == ["pageview", "linkclick"]


def test_a_form_is_a_row(visit: Visit, page: Page) -> None:
    visit.pages.put(
        "/form",
        f"""<meta charset="utf-8"><title>Contact</title><script src="{visit.script("pirate.js")}"></script>
        <form><input name="name" value="山田 太郎"><input name="email" value="taro@example.com">
        <button>Send</button></form>
        <p id="told"></p>
        <script>
        document.querySelector("form").onsubmit = (event) => {{
          event.preventDefault();
          const told = (text) => () => document.getElementById("told").append(text);
          const {{name, email}} = event.target;
          oceanus_pirate.f({{name: name.value, email: email.value, cname: "A & B", tel: "03=1",
            jsn: {{message: "x".repeat(6000)}}, onload: told("thanks"), onerror: told("sorry")}});
          oceanus_pirate.f({{name: "n".repeat(1025), onload: told("thanks"), onerror: told("refused")}});
        }};
        </script>""",
    )

    page.goto(visit.url("/form"))
    page.click("button")
    expect(page.locator("#told")).to_contain_text("thanks")
    expect(page.locator("#told")).to_contain_text("refused")
    visit.gate.beacons = [one for one in visit.gate.beacons if len(one.get("name", "")) < 1025]
    [form] = visit.rows(
        "movieform", 1, "eid, sid, name, cname, email, tel, url, enc, oid, uid, JSON_VALUE(jsn, '$.message') AS message"
    )

    sid = next(one["value"] for one in page.context.cookies() if one["name"] == "oceanus_sid")
    assert form == {
        "eid": form["eid"],
        "sid": sid,
        "name": "山田 太郎",
        "cname": "A & B",
        "email": "taro@example.com",
        "tel": "03=1",
        "url": visit.url("/form"),
        "enc": "UTF-8",
        "oid": "2",
        "uid": "",
        "message": "x" * 6000,
    }


def test_a_form_that_does_not_come_through_is_sent_again_and_is_one_row(visit: Visit, page: Page) -> None:
    visit.pages.put("/again", f'<script src="{visit.script("pirate.js")}"></script>')

    page.goto(visit.url("/again"))
    visit.gate.mode = "deaf"
    page.evaluate("oceanus_pirate.f({name: 'once', onload: () => document.title = 'came'})")
    visit.sends(1)
    visit.gate.mode = "pass"
    page.wait_for_function("document.title == 'came'")

    [form] = visit.rows("movieform", 1, "eid, name")
    assert form["name"] == "once"
    assert [one.get("re") for one in visit.beacons] == [None, "1"]


@not_in_firefox  # a referrer of ours
def test_a_conversion_on_a_partners_page_is_a_row_of_the_owners(visit: Visit, page: Page) -> None:
    """Two origins: external.html of the owner's has the owner's cookie, and sends from there."""
    own = visit.pages.find("/oceanus/external.html")
    endpoint = f'data-endpoint="{visit.gate.url}/swallow/shop" data-autosend'
    visit.pages.put(
        "/tags/external.html", own.body.decode().replace("data-autosend", endpoint).replace("./", "/oceanus/")
    )
    external = f"http://shop.localhost:{visit.pages.port}/tags/external.html"
    visit.partner.put(
        "/thanks",
        f"""<title>Thank you</title>
        <script>var oceanus_oid = "9", oceanus_evt = "paid", oceanus_jsn = {{price: 1200}};</script>
        <script src="/oceanus/conversion.js" data-external="{external}"></script>""",
    )

    page.goto(visit.partner_url("/thanks?order=1"), referer="http://partner.localhost/cart")
    visit.sends(1)
    page.evaluate("oceanus_conversion('9', 'again', {price: 5})")
    paid, again = visit.rows("shop", 2)

    assert (paid["evt"], paid["url"], paid["tit"]) == ("paid", visit.partner_url("/thanks?order=1"), "Thank you")
    assert (paid["ref"], json.loads(paid["jsn"])) == ("http://partner.localhost/cart", {"price": 1200})
    assert (again["evt"], json.loads(again["jsn"])) == ("again", {"price": 5})
    assert page.locator("#oceanus-external-ifm").count() == 1
    assert not page.locator("#oceanus-external-ifm").is_visible()


def _redirect(visit: Visit, **asked: str) -> str:
    """Return the address of redirect.html of the owner's, where shop.example and partner.localhost are listed."""
    file = visit.pages.find("/oceanus/redirect.html")
    html = file.body.decode().replace("{%oceanus_redirect_hosts%}", "partner.localhost .shop.example")
    html = html.replace("{%oceanus_site%}", "shop").replace("./", "/oceanus/")
    html = html.replace("data-autosend", f'data-endpoint="{visit.gate.url}/swallow/shop" data-autosend')
    visit.pages.put("/go/redirect.html", html)
    return visit.url("/go/redirect.html?" + urlencode(asked))


def test_a_redirect_to_a_listed_host_is_a_row_and_goes_there(visit: Visit, page: Page) -> None:
    visit.partner.put("/landing", "<title>Landing</title>")

    page.goto(_redirect(visit, url=visit.partner_url("/landing"), oid="4", uid="u-9", jsn='{"a":1}'))
    page.wait_for_url("**/landing")
    [row] = visit.rows("shop", 1)

    assert (row["evt"], row["url"], row["uid"]) == ("redirect", visit.partner_url("/landing"), "u-9")
    assert json.loads(row["jsn"]) == {"a": 1}


def test_a_redirect_goes_though_arms_is_away_and_its_beacon_waits(visit: Visit, page: Page) -> None:
    visit.partner.put("/landing", "<title>Landing</title>")
    visit.gate.mode = "refuse"

    page.goto(_redirect(visit, url=visit.partner_url("/landing"), jsn="{no json"))
    page.wait_for_url("**/landing")
    visit.gate.mode = "pass"
    page.clock.install()
    visit.pages.put("/home", f'<script src="{visit.script()}" data-site="shop"></script>')
    page.goto(visit.url("/home"))
    visit.sends(2)
    page.clock.fast_forward(31_000)

    assert sorted(row["evt"] for row in visit.rows("shop", 2)) == ["pageview", "redirect"]


def test_a_redirect_to_any_other_address_only_shows_it(visit: Visit, page: Page) -> None:
    for address in (
        "https://evil.example/?x=<b>bold</b>",
        "https://partner.localhost.evil.example/",
        "https://partner.localhost@evil.example/",
        "https://evilshop.example/",
        "javascript:document.title='ran'",
        "//evil.example/",
        "",
    ):
        page.goto(_redirect(visit, url=address))
        expect(page.locator("#address")).to_have_text(address)
        assert page.locator("b").count() == 0
        assert page.title() == "oceanus-redirect"

    assert visit.beacons == []
