"""The console as a person sees it: `oceanus up` serves it, Chromium looks at it, at two widths and in both schemes.

With SCREENS=FOLDER the pictures stay there, for whoever changes how it looks.
"""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page

from management import parts
from tests.chromium import running_chromium
from tests.conftest import end, until
from tests.e2e.test_up import BEACON, Up

VIEWS = ("sites", "records", "failed", "audit", "snippets")
HOSTILE = {
    "oid": "2", "evt": "pageview", "sid": "86895a04e5a59600", "url": "javascript:document.title='owned'",
    "tit": "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u202egnp.exe",
}  # fmt: skip
SHOWN = HOSTILE["tit"].replace("\u202e", "\\u202e")
# What a page may not do: talk to another origin, shift what is read, or run what a record says.
WATCHED = """
window.shifts = []; window.refused = [];
new PerformanceObserver((list) => window.shifts.push(...list.getEntries().filter((one) => !one.hadRecentInput)
  .map((one) => one.value))).observe({type: 'layout-shift', buffered: true});
addEventListener('securitypolicyviolation', (event) => window.refused.push(event.violatedDirective));
"""


@dataclass
class Running:
    """A running `oceanus up` and its console."""

    up: Up
    console: str

    def beacon(self, **changes: str) -> int:
        """Send a beacon to bizocean; return the status of the answer."""
        return httpx.get(f"{self.up.url}swallow/bizocean", params=HOSTILE | changes).status_code


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("up")
    environ = {"DATA_DIR": str(folder / "data"), "PORT": str(parts.free_port()), "HOME": str(folder)}
    up = Up(folder, environ | {"PATH": os.environ["PATH"]})
    up.start()
    told = json.loads((folder / "data" / "up.json").read_text(encoding="utf-8"))
    yield Running(up, told["console"])
    assert up.stop() == 0
    end(up.process, 60)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    with opened(chromium, 1280, "light") as made:
        yield made


@contextmanager
def opened(chromium: Browser, width: int, scheme: Any) -> Iterator[Page]:
    """Yield a page of a width and scheme; what goes wrong in it fails the test that looked at it."""
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page, wrong = context.new_page(), list[str]()
    page.set_default_timeout(30_000)
    page.add_init_script(WATCHED)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" and is_ours(said.text) else None)
    page.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith("http://127.0.0.1") else None)
    yield page
    refused, title = page.evaluate("window.refused"), page.title()
    context.close()
    assert (wrong, refused, "owned" in title) == ([], [], False)


def is_ours(text: str) -> bool:
    """Say whether an error is the page's own, and not what the browser says of a console that is away."""
    return not text.startswith("Failed to load resource")


def view(page: Page, running: Running, name: str, site: str = "") -> None:
    """Open a view, and wait until it is drawn."""
    page.goto(f"{running.console}#/{name}{f'?site={site}' if site else ''}")
    page.locator(f"#{name}").wait_for(state="visible")


def test_up_says_where_the_console_is_and_its_page_tells_what_arrives(running, page):
    assert f"console: {running.console}" in running.up.lines
    assert running.console.startswith("http://127.0.0.1:")
    view(page, running, "sites")
    page.get_by_text("No beacon yet").wait_for()

    assert httpx.get(running.up.url.rstrip("/") + BEACON).status_code == 200

    page.locator("#sites tbody tr", has_text="bizocean").get_by_text("ago").wait_for()
    page.locator("#state", has_text="Nothing waits").wait_for()
    assert sum(page.evaluate("window.shifts")) < 0.1  # web.dev/articles/cls: good


def test_a_hostile_record_is_text_in_the_list_and_whole(running, page):
    view(page, running, "records")
    assert running.beacon() == 200

    line = page.locator(".stream tbody tr", has_text="gnp.exe").first
    line.wait_for()
    line.locator("button").click()
    page.locator(".detail .fields").wait_for()

    assert line.locator("bdi").first.text_content() == SHOWN
    values = page.locator(".detail dd").all_text_contents()
    assert (SHOWN in values, HOSTILE["url"] in values) == (True, True)
    assert page.locator("#records a, #records img, #records script").count() == 0
    assert page.evaluate("document.scripts.length") == 1


def test_words_and_a_site_choose_the_records_and_keys_move_among_them(running, page):
    for number in range(3):
        assert running.beacon(tit=f"a thing to find {number}") == 200
    view(page, running, "records", "bizocean")
    page.locator("#words").fill("FIND thing")
    lines = page.locator(".stream tbody tr:not([hidden])")
    until(lambda: lines.count() == 3)

    page.locator("#words").press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.locator(".detail dd", has_text="a thing to find 1").wait_for()
    page.locator("#records .told", has_text="Held while you read").wait_for()
    page.keyboard.press("Escape")
    page.locator("#site").select_option("skj")
    page.get_by_text("No record of late has these words in it").wait_for()

    assert page.url.endswith("#/records?site=skj")


def test_a_failed_record_tells_its_reason_and_what_became_of_a_retry(running, page):
    assert running.beacon(sid="NOT HEX") == 400
    until(lambda: running.up.sql("SELECT COUNT(*) AS n FROM oceanus_failed.failed")[0]["n"] == 1)
    view(page, running, "failed")
    page.locator(".failures tbody tr").get_by_text("sid: value does not match").wait_for()

    page.locator(".failures tbody button", has_text="Retry").click()
    page.get_by_text("it cannot be sent: still rejected: sid").wait_for()
    page.locator(".failures tbody button.name").click()

    page.get_by_text("A retry: cannot be sent: still rejected").wait_for()
    assert "document.title" in (page.locator(".detail dd").last.text_content() or "")


def test_the_audit_s_answer_is_shown_when_it_has_come(running, page):
    view(page, running, "audit")
    page.get_by_text("Nobody has asked yet").wait_for()

    page.get_by_role("button", name="Audit now").click()

    page.locator(".verdict").wait_for()
    line = page.locator("#audit tbody tr", has_text="bizocean").locator("td")
    assert line.nth(0).text_content() == line.nth(1).text_content()  # accepted, landed
    assert (page.locator("tfoot td").nth(5).text_content(), page.locator("tfoot td").nth(6).text_content()) == (
        "0",
        "0",
    )


@pytest.mark.parametrize("site", ["bizocean", "docreq"])
def test_a_test_beacon_is_watched_until_it_is_a_row(running, page, site):
    view(page, running, "snippets", site)
    page.get_by_role("tab", name="Without script").click()

    page.get_by_role("button", name="Send a test beacon").click()

    page.locator(".steps li.done", has_text="A row of oceanus.").wait_for()
    [row] = running.up.sql(f"SELECT COUNT(*) AS n FROM {site} WHERE sid LIKE '7e57%'")
    assert row == {"n": 1}


def test_a_console_that_is_gone_is_said_and_found_again(running, page):
    view(page, running, "sites")
    page.locator("#link[data-state=live]").wait_for()
    told = json.loads((Path(running.up.environ["DATA_DIR"]) / "up.json").read_text(encoding="utf-8"))

    os.kill(told["children"]["console"], signal.SIGKILL)

    page.locator("#state", has_text="The console does not answer; this is how things stood at").wait_for()
    page.locator("#link[data-state=live]").wait_for()
    page.locator("#state", has_text="The last beacon came").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_view_fits_its_window_in_both_schemes(running, chromium, width, scheme, tmp_path):
    assert running.beacon(tit=f"in {scheme} at {width}") == 200
    folder = Path(os.environ.get("SCREENS", tmp_path))
    pictures = set()
    with opened(chromium, width, scheme) as page:
        for name in VIEWS:
            view(page, running, name)
            page.locator("#link[data-state=live]").wait_for()
            if name == "snippets":
                page.locator("#snippet code", has_text="<script").wait_for()
            pictures.add(page.screenshot(path=folder / f"{name}-{width}-{scheme}.png"))
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    assert len(pictures) == len(VIEWS)
