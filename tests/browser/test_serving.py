"""What arms serves, and what `oceanus snippet` prints for it, in a browser: policies, hashes, cookies, redirects."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from management import snippet
from management.snippet_commands import served
from oceanus import sites
from oceanus.sites import Site
from tests.arms.conftest import sample
from tests.arms.serving import Server, serve
from tests.browser.conftest import not_in_firefox
from tests.conftest import RedisProcess, until

__all__ = ["serve"]
OWN = (
    "{{method: swallow, shape: access, cookie_domain: shop.localhost, origins: {{allow: ['{page}']}},"
    " tracker: {{path: /t/menu.js, endpoint: /t/menu, cookie: arms, redirect: [www.shop.localhost]}}}}"
)
NONCE = "fixed-for-this-test"


class Shop:
    """A shop's pages, its collector on another host below the same domain, and what has come there."""

    def __init__(self, redis: RedisProcess) -> None:
        self.pages: dict[str, tuple[str, dict[str, str]]] = {}
        self._redis = redis
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text, headers = shop.pages.get(urlsplit(self.path).path, ("", {}))
                self.send_response(200)
                for name, value in {"Content-Type": "text/html", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(f"<!doctype html><title>Shop</title><body>{text}".encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://www.shop.localhost:{self.server.server_port}"
        self.collector = ""

    def put(self, path: str, text: str, **headers: str) -> str:
        """Put a page there; return its address."""
        self.pages[path] = (text, {name.replace("_", "-"): value for name, value in headers.items()})
        return f"{self.url}{path}"

    def site(self) -> Site:
        """Return the shop as sites.yaml declares it."""
        return sites.parse(sample(bizocean=OWN.format(page=self.url)))["bizocean"]

    def text(self, kind: str, **wishes: Any) -> str:
        """Return what `oceanus snippet` prints for it."""
        return snippet.snippet(self.site(), self.collector, kind, served(self.site()), **wishes)

    def policy(self) -> str:
        """Return the strictest policy that the tag needs."""
        return f"default-src 'none'; script-src 'nonce-{NONCE}'; connect-src {self.collector}; img-src {self.collector}"

    def records(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many records, and return all that have come, oldest first."""
        client = self._redis.client()
        until(lambda: client.llen("oceanus:{bizocean}:queue") >= count, 20)
        return [orjson.loads(text) for text in client.lrange("oceanus:{bizocean}:queue", 0, -1)[::-1]]


@pytest.fixture
def shop(serve: Any, redis_server: RedisProcess, tmp_path: Path) -> Iterator[Shop]:
    """A shop whose sessions arms keeps, under names of its own."""
    one = Shop(redis_server)
    threading.Thread(target=one.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    (tmp_path / "sites.yaml").write_text(sample(bizocean=OWN.format(page=one.url)), encoding="utf-8")
    arms: Server = serve(redis_server, SITES_FILE=str(tmp_path / "sites.yaml"))
    one.collector = f"http://log.shop.localhost:{arms.port}"
    yield one
    one.server.shutdown()
    one.server.server_close()


def cookies(context: BrowserContext) -> list[tuple[Any, ...]]:
    """Return the browser's cookies, as far as we say what they are."""
    return [(one["name"], one["domain"], one["path"], one["sameSite"], one["httpOnly"]) for one in context.cookies()]


OURS = ("oceanus_sid", ".shop.localhost", "/", "Lax", False)


@pytest.mark.parametrize("kind", ["tag", "gtm"])
def test_the_printed_text_runs_under_a_strict_policy(
    shop: Shop, page: Page, context: BrowserContext, kind: str
) -> None:
    text = shop.text(kind, nonce=NONCE)
    if kind == "gtm":  # whoever allows Tag Manager gives its tags a nonce
        text = text.replace("<script>", f'<script nonce="{NONCE}">')
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))

    page.goto(shop.put("/one", text, Content_Security_Policy=shop.policy()))
    [first] = shop.records(1)
    page.goto(shop.put("/two", text, Content_Security_Policy=shop.policy()))
    [_, second] = shop.records(2)

    assert [one["url"] for one in (first, second)] == [f"{shop.url}/one", f"{shop.url}/two"]
    assert first["sid"] == second["sid"] == context.cookies()[0]["value"]
    assert cookies(context) == [OURS]
    assert told == []


@not_in_firefox
def test_a_script_that_was_changed_on_its_way_does_not_run(shop: Shop, page: Page) -> None:
    page.route(
        "**/t/menu.*.js", lambda route: route.fulfill(body="document.title = 'changed'", content_type="text/javascript")
    )
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))

    page.goto(shop.put("/", shop.text("tag")))
    until(lambda: bool(told), 20)

    assert "integrity" in told[0]
    assert page.title() == "Shop"


@not_in_firefox
def test_a_visitor_without_script_is_known_again(shop: Shop, browser: Browser) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        for path in ("/one", "/two"):
            page.goto(shop.put(path, shop.text("noscript", page=f"{shop.url}{path}")))
        found = shop.records(2)

        assert [one["url"] for one in found] == [f"{shop.url}/one", f"{shop.url}/two"]
        assert {one["sid"] for one in found} == {context.cookies()[0]["value"]}
        assert cookies(context) == [OURS]


def test_who_objects_has_no_cookie_afterwards(shop: Shop, browser: Browser) -> None:
    with browser.new_context(extra_http_headers={"Sec-GPC": "1"}) as context:
        context.add_init_script("Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {value: true})")
        page = context.new_page()

        page.goto(shop.put("/", shop.text("tag") + shop.text("noscript", page=shop.url)))
        shop.records(1)

        assert cookies(context) == []


def test_the_image_of_a_beacon_is_shown_on_a_page_that_isolates_itself(shop: Shop, page: Page) -> None:
    beacon = urlencode({"oid": "2", "evt": "pageview", "sid": "ab", "url": shop.url})
    image = f'<img src="{shop.collector}/t/menu?{beacon}" alt="refused" onload="document.title = \'shown\'">'

    page.goto(shop.put("/", image, Cross_Origin_Embedder_Policy="require-corp"))

    expect(page).to_have_title("shown")


def test_arms_own_page_goes_to_listed_hosts_alone(shop: Shop, page: Page) -> None:
    def asked(address: str) -> str:
        return f"{shop.collector}/static/html/redirect.html?{urlencode({'url': address})}"

    page.goto(asked("https://evil.example/"))
    expect(page.locator("#address")).to_have_text("https://evil.example/")
    page.goto(asked(shop.put("/there", "")))
    page.wait_for_url(f"{shop.url}/there")

    assert [(one["evt"], one["url"]) for one in shop.records(1)] == [("redirect", f"{shop.url}/there")]
