"""The tracker's files: by their plain names for minutes, by their fingerprints for a year, and fit for any page."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from arms import files
from arms.fingerprints import fingerprint

from .conftest import Arms

MakeArms = Callable[..., Arms]
SCRIPT = b"(function () { /* " + b"long " * 100 + b"*/ })();"
NAMED = f"okeanides.{fingerprint(SCRIPT)}.js"
OLD = b"(function () { /* of an earlier release */ })();"
FULL = b"(function () { /* full */ })();"
OLD_NAMED = f"okeanides.{fingerprint(OLD)}.js"
TRACKED = "{{method: {}, shape: {}, tracker: {}}}"


@pytest.fixture
def static(tmp_path: Path) -> Path:
    """A folder as a release ships it: a script, its map, the same of an earlier release, and pages."""
    pages = {
        "plain.html": "<p>plain",
        "page.html": '<a href="//{%oceanus_host%}/" data-hosts="{%oceanus_redirect_hosts%}">',
    }
    for folder in ("js", "html"):
        (tmp_path / folder).mkdir()
    (tmp_path / "js" / "okeanides.js").write_bytes(SCRIPT)
    (tmp_path / "js" / "okeanides.js.map").write_text('{"version": 3}')
    (tmp_path / "js" / "okeanides.full.js").write_bytes(FULL)
    (tmp_path / "js" / "pirate.js").write_text("pirate()")
    (tmp_path / "js" / OLD_NAMED).write_bytes(OLD)
    (tmp_path / "js" / "okeanides.0123456789abcdef.js").write_bytes(OLD)
    (tmp_path / "js" / "own.js").write_text("var host = '{%oceanus_host%}';")
    for name, text in pages.items():
        (tmp_path / "html" / name).write_text(text)
    return tmp_path


@pytest.fixture
def arms(make_arms: MakeArms, static: Path) -> Arms:
    """A collector with those files."""
    return make_arms(static=static)


def test_a_script_may_be_used_on_any_page_and_is_taken_for_nothing_else(arms: Arms) -> None:
    found = arms.get("/static/js/okeanides.js")

    assert (found.status_code, found.content) == (200, SCRIPT)
    assert {
        name: found.headers.get(name) for name in (*[name.lower() for name in files._EVERYWHERE], "content-type")
    } == {
        "access-control-allow-origin": "*",
        "cross-origin-resource-policy": "cross-origin",
        "x-content-type-options": "nosniff",
        "content-type": "text/javascript; charset=utf-8",
    }


@pytest.mark.parametrize(
    ("path", "content", "cache"),
    [
        ("/static/js/okeanides.js", SCRIPT, files.FOR_MINUTES),
        (f"/static/js/{NAMED}", SCRIPT, files.FOR_EVER),
        (f"/static/js/{OLD_NAMED}", OLD, files.FOR_EVER),
        ("/static/js/okeanides.0123456789abcdef.js", OLD, files.FOR_MINUTES),  # it says what it is not
        (f"/static/html/{NAMED}", SCRIPT, files.FOR_EVER),
        ("/static/html/okeanides.js", SCRIPT, files.FOR_MINUTES),
        ("/static/html/plain.html", b"<p>plain", files.FOR_MINUTES),
    ],
)
def test_only_what_its_name_proves_is_kept_for_a_year(arms: Arms, path: str, content: bytes, cache: str) -> None:
    found = arms.get(path)

    assert (found.status_code, found.content, found.headers["cache-control"]) == (200, content, cache)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("js/okeanides.js.map", "application/json"), ("html/plain.html", "text/html; charset=utf-8")],
)
def test_each_file_says_what_it_is(arms: Arms, name: str, kind: str) -> None:
    assert arms.get(f"/static/{name}").headers["content-type"] == kind


@pytest.mark.parametrize("name", ["js/none.js", f"js/okeanides.{'0' * 16}.js", "css/okeanides.js", "py/okeanides.js"])
def test_what_is_not_there_is_a_404_that_nobody_keeps(arms: Arms, name: str) -> None:
    found = arms.get(f"/static/{name}")

    assert found.status_code == 404
    assert found.headers["cache-control"] == "no-cache, no-store, must-revalidate"
    assert found.headers["access-control-allow-origin"] == "*"


def test_a_browser_that_has_a_file_is_not_sent_it_again(arms: Arms) -> None:
    tag = arms.get("/static/js/okeanides.js").headers["etag"]

    for known in (tag, tag.removeprefix("W/"), f'"a", {tag}', "*"):
        again = arms.get("/static/js/okeanides.js", If_None_Match=known)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["cache-control"] == files.FOR_MINUTES
    assert arms.get("/static/js/okeanides.js", If_None_Match='"a"').status_code == 200


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [("gzip, deflate, br", True), ("br;q=1, GZIP;q=0.5", True), ("gzip;q=0", False), ("br", False), ("", False)],
)
def test_who_takes_gzip_is_sent_less(arms: Arms, accepted: str, is_packed: bool) -> None:
    found = arms.get("/static/js/okeanides.js", Accept_Encoding=accepted)

    assert found.headers["vary"] == "Accept-Encoding"
    assert (found.headers.get("content-encoding") == "gzip") is is_packed
    assert (gzip.decompress(found.content) if is_packed else found.content) == SCRIPT
    assert len(found.content) < len(SCRIPT) or not is_packed


def test_a_head_is_answered_as_a_get_without_the_body(arms: Arms) -> None:
    head, got = (ask("/static/js/okeanides.js") for ask in (arms.client.simulate_head, arms.client.simulate_get))

    assert (head.status_code, head.content) == (200, b"")
    assert {name: head.headers[name] for name in got.headers if name != "content-length"} == {
        name: value for name, value in got.headers.items() if name != "content-length"
    }


def test_pages_run_what_stands_beside_them_alone(arms: Arms) -> None:
    policy = arms.get("/static/html/plain.html").headers["content-security-policy"]

    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in policy
    assert "content-security-policy" not in arms.get("/static/js/okeanides.js").headers


def test_placeholders_are_written_for_each_request(make_arms: MakeArms, static: Path) -> None:
    body = TRACKED.format("swallow", "access", "{redirect: [www.shop.example, .shop.example]}")
    arms = make_arms(static=static, bizpow=body)

    first, second = (
        arms.client.simulate_get("/static/html/page.html", query_string=query, host='log.example"')
        for query in ("", "site=bizpow")
    )

    assert first.text == '<a href="//log.example/" data-hosts="">'
    assert second.text == '<a href="//log.example/" data-hosts="www.shop.example .shop.example">'
    assert first.headers["etag"] != second.headers["etag"]
    assert arms.get("/static/js/own.js").text == "var host = 'falconframework.org';"


@pytest.mark.parametrize("query", ["site=none", "site=%ff", "site=movieform", "&".join(["a=1"] * 101)])
def test_a_page_for_no_site_may_go_nowhere(make_arms: MakeArms, static: Path, query: str) -> None:
    arms = make_arms(static=static, bizocean=TRACKED.format("swallow", "access", "{redirect: [www.shop.example]}"))

    assert 'data-hosts="www.shop.example"' in arms.get("/static/html/page.html").text
    assert 'data-hosts=""' in arms.get("/static/html/page.html", query).text


def test_a_file_with_placeholders_has_no_fingerprint_for_it_is_not_always_the_same(static: Path) -> None:
    found = files.read(static)

    assert [name for name in found["js"] if name.startswith("own.")] == ["own.js"]
    assert [name for name in found["html"] if name.startswith("page.")] == ["page.html"]


def test_a_site_s_script_stands_under_a_path_of_its_own_in_every_release(make_arms: MakeArms, static: Path) -> None:
    arms = make_arms(
        static=static,
        bizpow=TRACKED.format("swallow", "access", "{path: /a/b.js}"),
        skj=TRACKED.format("swallow", "access", "{path: /f.js, script: full}"),
        docreq=TRACKED.format("pirate", "form", "{path: /c.js}"),
    )
    fixed = {f".{fingerprint(content)}": content for content in (SCRIPT, FULL, OLD)}

    def served(path: str) -> tuple[int, bytes, str]:
        found = arms.get(path)
        return found.status_code, found.content, found.headers["cache-control"]

    for path, newest in {"/a/b": SCRIPT, "/f": FULL, "/c": b"pirate()"}.items():
        assert served(f"{path}.js") == (200, newest, files.FOR_MINUTES)
        assert served(f"{path}.{fingerprint(newest)}.js") == (200, newest, files.FOR_EVER)
    for path in ("/a/b", "/f"):  # a page that carries another script's tag goes on working
        assert {name: served(f"{path}{name}.js")[1] for name in fixed} == fixed
    assert arms.client.simulate_head("/a/b.js").status_code == 200
    assert [arms.get(path).status_code for path in ("/a/c.js", f"/c.{fingerprint(OLD)}.js")] == [404, 404]


def test_every_file_that_is_shipped_under_a_fingerprint_is_what_it_says() -> None:
    shipped = [file for folder in files.read().values() for file in folder.values()]

    assert [file.name for file in shipped if re.search(r"\.[0-9a-f]{16}\.", file.name) and not file.is_for_ever] == []
