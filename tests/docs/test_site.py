"""The site is built of docs/ without a warning, stands alone, and asks no other host for anything."""

import functools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, Request

from docs import hook
from tests.chromium import running_chromium
from tests.docs.blocks import PAGES, TOP

# What a browser fetches by itself, by element and attribute; a link (`a`) is the reader's business.
FETCHED = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src", "video": "src"}
SHOWN = ["index", "configuration", "guarantee", "first-look", "queries", "files/k8s/base/redis-pd.yaml"]


def build(folder: Path, config: Path = TOP / "mkdocs.yml") -> "subprocess.CompletedProcess[str]":
    """Build the site as `make lint` does, into a folder of the test's."""
    words = [str(Path(sys.executable).with_name("mkdocs")), "build", "--strict"]
    words += ["--config-file", str(config), "--site-dir", str(folder)]
    environ = {"PATH": os.environ["PATH"], "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(words, env=environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    built = build(folder)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


class Fetched(HTMLParser):
    """Notes what a page makes a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the address of an element, if a browser fetches it."""
        given = dict(attrs)
        if given.get("rel") not in ("canonical", "prev", "next"):
            self.addresses.append(given.get(FETCHED.get(tag, "")) or "")


def test_no_page_and_no_style_fetches_anything_from_another_host(site: Path) -> None:
    pages, styles = list(site.rglob("*.html")), list(site.rglob("*.css"))
    assert len(pages) > len(PAGES)
    assert styles

    for page in pages:
        fetched = Fetched()
        fetched.feed(page.read_text(encoding="utf-8"))
        assert [one for one in fetched.addresses if re.match(r"(?:[a-z]+:)?//", one)] == [], page
    for style in styles:
        text = style.read_text(encoding="utf-8")
        assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)]*", text) == [], style


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for the tests of this module."""
    with running_chromium() as browser:
        yield browser


class Silent(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the site is served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_read_without_another_host_and_fit_the_window(
    chromium: Browser, address: str, width: int, scheme: str
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, asked = context.new_page(), []

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    for name in SHOWN:
        page.goto(f"{address}{name}.html")
        told = page.evaluate("[document.documentElement.scrollWidth - innerWidth, document.body.dataset.mdColorScheme]")
        assert told == [0, {"light": "default", "dark": "slate"}[scheme]], name
    context.close()

    assert [one for one in asked if not one.startswith((address, "data:"))] == []


def test_a_word_is_found(chromium: Browser, address: str) -> None:
    page = chromium.new_page()
    page.goto(f"{address}index.html")

    page.get_by_placeholder("Search").first.fill("JOURNAL_MAX_BYTES")

    page.locator(".md-search-result__link[href*='configuration.html']").first.wait_for(timeout=30_000)
    page.close()


def test_a_link_that_leads_nowhere_and_a_page_that_no_menu_has_stop_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for file in ("hook.py", "site.css"):
        (tmp_path / "docs" / file).write_bytes((TOP / "docs" / file).read_bytes())
    config = (TOP / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[0]
    (tmp_path / "mkdocs.yml").write_text(f"{config}\nnav: [index.md, 'Rest': 'rest/*.md']\n", encoding="utf-8")
    text = "# A\n\n[b](b.md) [c](#c) [d](../d.yaml) [e](e/) [f](/f)\n"
    (tmp_path / "docs" / "index.md").write_text(text, encoding="utf-8")
    (tmp_path / "docs" / "alone.md").write_text("# Alone\n", encoding="utf-8")

    built = build(tmp_path / "site", tmp_path / "mkdocs.yml")

    assert built.returncode == 1
    for wrong in ("'b.md'", "'#c'", "'../d.yaml'", "'e/'", "'/f'", "alone.md"):
        assert wrong in built.stderr


def test_a_menu_s_pattern_is_the_pages_it_finds_the_index_first(tmp_path: Path) -> None:
    for name in ("one/b.md", "one/index.md", "one/a.md", "two/index.md", "three.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    nav = ["x.md", {"Deep": [{"One": "one/*.md"}, {"Two": "two/*.md"}, {"None": "none/*.md"}, {"Three": "three*.md"}]}]

    assert list(hook.found(nav, tmp_path)) == [
        "x.md",
        {"Deep": [{"One": ["one/index.md", "one/a.md", "one/b.md"]}, {"Two": ["two/index.md"]}, {"Three": "three.md"}]},
    ]


@given(place=st.sampled_from(["gke.md", "runbook/a.md", "files/CHANGELOG.md", "files/k8s/base/index.md"]))
def test_a_link_means_on_the_site_what_it_means_in_the_repository(place: str) -> None:
    here = TOP / (place.removeprefix("files/") if place.startswith("files/") else f"docs/{place}")
    for meant in ("docs/cost.md", "docs/runbook/index.md", "CHANGELOG.md", "k8s/base", "oceanus/sample_sites.yaml"):
        link = os.path.relpath(TOP / meant, here.parent)

        led = hook.within_site(link, place, TOP)

        target = os.path.normpath(os.path.join(os.path.dirname(place), led))
        shown = {
            "k8s/base": "files/k8s/base/index.md",
            "oceanus/sample_sites.yaml": "files/oceanus/sample_sites.yaml.md",
        }
        assert target == shown.get(meant, meant.removeprefix("docs/") if "docs/" in meant else f"files/{meant}")


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def test_an_anchor_leads_on_github_where_it_leads_on_the_site() -> None:
    for page in PAGES:
        for file, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
            target = (page.parent / file) if file else page
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)

            assert anchor in map(slug, headings), f"{page.name}: {file}#{anchor}"
