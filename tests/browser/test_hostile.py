"""Bad input: what a page may throw at the tracker, and what it may have broken. No event is lost, no page harmed."""

import json

from playwright.sync_api import Browser, Page

from tests.browser.conftest import Visit


def put(visit: Visit, before: str = "", name: str = "okeanides.js") -> str:
    """Put a page there, with a script of its own before the tag; return its address."""
    visit.pages.put("/hostile", f"<title>Hostile</title><script>{before}</script>{visit.tag('shop', '', name)}")
    return visit.url("/hostile")


MEMBERS = "Object.fromEntries(Array.from({length: 10000}, (_, n) => ['k' + n, n]))"
PROPS = {
    "a cycle": ("const a = {n: 1}; a.self = a; return a", {"n": 1, "self": "[object Object]"}),
    "functions and symbols": (
        "return {f() {}, s: Symbol('s'), u: undefined, n: NaN, ok: true}",
        {"n": None, "ok": True},
    ),
    "a big integer": ("return {big: 12345678901234567890n}", {"big": "12345678901234567890"}),
    "a getter that throws": ("return {n: 1, get bad() { throw 1 }}", {"cut": True}),
    "toJSON that throws": ("return {toJSON() { throw 1 }, n: 1}", {"cut": True}),
    "a prototype": ('return JSON.parse(\'{"__proto__": {"evil": 1}}\')', {"__proto__": {"evil": 1}}),
    "halves of surrogate pairs": ("return {'k\\ud800': 'a\\udc00b😀'}", {"k\ufffd": "a\ufffdb😀"}),
    "a NUL, and what looks like one": ("return {n: '\\0', t: '\\\\u0000'}", {"n": "\ufffd", "t": "\\u0000"}),
    "a page's object": ("return {el: document.body, win: 1}", None),
    "a window": ("return window", None),
    "a text": ("return 'just a text'", "just a text"),
    "ten thousand members": (f"return {MEMBERS}", {"cut": True}),
}


def test_whatever_is_given_with_an_event_the_event_arrives(visit: Visit, page: Page) -> None:
    page.goto(put(visit))
    for given, _ in PROPS.values():
        page.evaluate(f"() => {{ oceanus.track('odd', (() => {{ {given} }})()) }}")
    _, *rows = visit.rows("shop", 1 + len(PROPS))

    for (name, (_, told)), row in zip(PROPS.items(), rows, strict=True):
        assert row["evt"] == "odd"
        assert told is None or json.loads(row["jsn"]) == told, name
    assert page.evaluate("({}).evil") is None


def test_long_texts_are_cut_until_the_event_fits(visit: Visit, page: Page) -> None:
    page.goto(put(visit))
    page.evaluate("oceanus.track('long', {text: '靴'.repeat(1 << 20), n: 1, list: Array(50).fill('x'.repeat(500))})")
    row = visit.rows("shop", 2)[1]

    told = json.loads(row["jsn"])
    assert (told["n"], len(told["list"]), set(told["text"])) == (1, 50, {"靴"})
    assert len(row["jsn"]) <= 4096


def test_an_event_that_is_none_does_not_break_the_page(visit: Visit, page: Page) -> None:
    page.goto(put(visit))
    page.evaluate("""() => {
        oceanus.f(null); oceanus.f(undefined);
        oceanus.track(Symbol('s'), 5); oceanus.track({toString() { throw 1 }}); oceanus.f({get evt() { throw 1 }});
        oceanus.q.push("text"); oceanus.identify({});
    }""")

    assert [row["evt"] for row in visit.rows("shop", 5)] == [
        "pageview",
        "pageview",
        "pageview",
        "symbol(s)",
        "pageview",
    ]


FILL = """let t = 'x'.repeat(1 << 20);
for (let n = 0; t; n++) try { localStorage['f' + n] = t } catch { t = t.slice(1 + t.length / 2) }"""
RUBBISH = (
    "localStorage['oceanus:x'] = '{'; localStorage['oceanus:y'] = 'null'; localStorage['oceanus:z'] = '[0,0,5,null]'"
)
BROKEN = {
    "JSON is missing": "window.JSON = undefined",
    "JSON throws": "JSON.stringify = JSON.parse = () => { throw new Error('no') }",
    "Promise is missing": "window.Promise = undefined",
    "localStorage is missing": "Object.defineProperty(window, 'localStorage', {value: undefined})",
    "localStorage throws": "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no') }})",
    "localStorage is full": FILL,
    "cookies throw": "Object.defineProperty(document, 'cookie', {get() { throw 1 }, set() { throw 1 }})",
    "lists have a toJSON": "Array.prototype.toJSON = function () { return 'a list' }; Object.prototype.extra = () => 1",
    "localStorage holds rubbish": RUBBISH,
    "another thing has our name": "window.oceanus = {}",
}


def test_whatever_a_page_has_broken_its_beacons_arrive(visit: Visit, browser: Browser) -> None:
    """The page itself sends, for the tools of the test need some of what is broken."""
    errors: list[str] = []
    later = "addEventListener('load', () => setTimeout(() => oceanus.track('b', {n: 1}), 50));"
    for count, (name, broken) in enumerate(BROKEN.items(), 1):
        with browser.new_context() as context:
            page = context.new_page()
            page.on("pageerror", lambda error, name=name: errors.append(f"{name}: {error}"))
            page.goto(put(visit, later + broken, "okeanides.full.js"))
            visit.sends(2 * count)

    rows = visit.rows("shop", 2 * len(BROKEN))

    assert [row["evt"] for row in rows] == ["pageview", "b"] * len(BROKEN)
    assert errors == []


def test_a_clock_that_is_years_off_changes_nothing(visit: Visit, browser: Browser) -> None:
    for year in ("1970-01-02", "2001-01-01", "2087-01-01"):
        with browser.new_context() as context:
            page = context.new_page()
            page.clock.install(time=year)
            visit.gate.mode = "refuse"
            with page.expect_response("**/swallow/shop"):
                page.goto(put(visit))
            page.evaluate("0")  # the tracker has heard the answer
            visit.gate.mode = "pass"
            with page.expect_response("**/swallow/shop"):
                page.clock.fast_forward(10_000)

    assert [row["late"] in range(30) for row in visit.rows("shop", 3)] == [True] * 3


def test_what_waited_while_the_clock_was_set_by_years_is_not_sent_after_its_time(visit: Visit, page: Page) -> None:
    """Nobody knows how old it is, and r2bq knows a first try for seven days only."""
    visit.pages.put("/blank", "<title>Blank</title>")
    page.goto(visit.url("/blank"))
    entry = [
        0,
        0,
        f"{visit.gate.url}/swallow/shop",
        {"evt": "old", "cid": "ab" * 16, "sid": "1", "oid": "2", "url": "u"},
    ]
    page.evaluate("(entry) => { localStorage['oceanus:' + 'ab'.repeat(16)] = JSON.stringify(entry) }", entry)
    page.goto(put(visit))

    assert [row["evt"] for row in visit.rows("shop", 1)] == ["pageview"]
    page.wait_for_function("localStorage.length == 0")


def test_of_two_copies_of_the_script_one_works(visit: Visit, page: Page) -> None:
    visit.pages.put("/twice", f"<title>Twice</title>{visit.tag('shop')}{visit.tag('shop', '', 'okeanides.full.js')}")

    page.goto(visit.url("/twice"))
    page.evaluate("history.pushState(null, '', '/third')")

    assert len(visit.rows("shop", 2)) == 2


def test_a_sandboxed_frame_is_no_obstacle(visit: Visit, page: Page) -> None:
    """It has no cookies, no localStorage, and the origin `null`."""
    visit.pages.put("/inner", f"<title>Inner</title>{visit.tag('shop')}")
    visit.pages.put("/outer", '<iframe sandbox="allow-scripts" src="/inner"></iframe>')

    page.goto(visit.url("/outer"))
    [row] = visit.rows("shop", 1)

    assert row["url"] == visit.url("/inner")
