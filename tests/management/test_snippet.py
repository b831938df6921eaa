"""The text for a site's pages says what sites.yaml says, and nothing in it can break out of its quotes."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from management import snippet
from oceanus import sites
from oceanus.sites import Site

SCRIPT = b"(function(){})()"
HASH = "sha384-" + base64.b64encode(hashlib.sha384(SCRIPT).digest()).decode()
NAMED = hashlib.sha256(SCRIPT).hexdigest()[:16]
URL = "https://log.shop.example"


def site(body: str = "", method: str = "swallow") -> Site:
    shape = (
        "{fields: {dt: {from: clock, type: TIMESTAMP}, sid: {from: query}, oid: {from: query}}}"
        if method != "pirate"
        else "{fields: {dt: {from: clock, type: TIMESTAMP}, sid: {from: form}}}"
    )
    return sites.parse(f"shapes: {{s: {shape}}}\nsites: {{shop: {{method: {method}, shape: s{body and ', '}{body}}}}}")[
        "shop"
    ]


class Elements(HTMLParser):
    """Collects the elements of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def script_of(text: str) -> dict[str, str | None]:
    [(tag, attributes)] = Elements(text).found
    assert tag == "script"
    return attributes


def test_a_tag_names_its_script_by_fingerprint_and_proves_it():
    text = snippet.snippet(site(), URL, "tag", SCRIPT)

    assert text == (
        f'<script defer src="{URL}/static/js/okeanides.{NAMED}.js" integrity="{HASH}" crossorigin="anonymous"'
        ' data-site="shop"></script>\n'
    )


def test_a_tag_says_what_the_site_says():
    body = "tracker: {path: /a/b.js, endpoint: /x, cookie: arms}, cookie_domain: shop.example, privacy: {consent: ok}"

    said = script_of(snippet.snippet(site(body), f"{URL}/", "tag", SCRIPT, nonce="{{ nonce }}"))

    assert said == {
        "defer": None,
        "src": f"{URL}/a/b.{NAMED}.js",
        "integrity": HASH,
        "crossorigin": "anonymous",
        "data-site": "shop",
        "data-endpoint": f"{URL}/x",
        "data-cookie": "arms",
        "data-cookie-domain": "shop.example",
        "data-consent": "ok",
        "nonce": "{{ nonce }}",
    }


def test_a_site_without_cookies_says_so_and_names_no_domain():
    said = script_of(snippet.snippet(site("tracker: {cookie: none}, cookie_domain: shop.example"), URL, "tag", SCRIPT))

    assert {name: value for name, value in said.items() if name.startswith("data-")} == {
        "data-site": "shop",
        "data-cookie": "none",
    }


def test_the_newest_script_has_no_fingerprint_and_no_hash():
    said = script_of(snippet.snippet(site(), URL, "tag", SCRIPT, newest=True))

    assert said == {"defer": None, "src": f"{URL}/static/js/okeanides.js", "data-site": "shop"}


def test_forms_have_the_script_for_forms():
    said = script_of(snippet.snippet(site(method="pirate"), URL, "tag", SCRIPT))

    assert said["src"] == f"{URL}/static/js/pirate.{NAMED}.js"


def test_an_image_says_its_page_and_who_has_no_session():
    [_, (tag, image)] = Elements(
        snippet.snippet(site(), URL, "noscript", SCRIPT, page="https://a.example/?q=1&r")
    ).found

    assert tag == "img"
    parts = urlsplit(str(image["src"]))
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{URL}/swallow/shop"
    assert parse_qs(parts.query) == {
        "oid": ["2"], "evt": ["pageview"], "sid": ["0"], "url": ["https://a.example/?q=1&r"]
    }  # fmt: skip


def test_an_image_leaves_the_session_to_arms_where_arms_gives_one():
    body = "tracker: {endpoint: /x, cookie: none}, origins: {allow: ['https://www.shop.example']}"

    [_, (_, image)] = Elements(snippet.snippet(site(body), URL, "noscript", SCRIPT)).found

    assert image["src"] == f"{URL}/x?oid=2&evt=pageview&url=https%3A%2F%2Fwww.shop.example%2F"


def test_an_image_for_mails_stands_alone():
    [(tag, image)] = Elements(snippet.snippet(site(method="gaze"), URL, "noscript", b"")).found

    assert (tag, image["src"]) == ("img", f"{URL}/gaze/shop?oid=2&evt=open")


def test_tag_manager_is_given_a_script_that_makes_the_script():
    text = snippet.snippet(site("privacy: {consent: '</script>\"'}"), URL, "gtm", SCRIPT)

    [element] = Elements(text).found
    set_there = re.findall(r"s\.setAttribute\((.*)\);", text)
    assert element == ("script", {})
    assert dict(json.loads(f"[{one}]") for one in set_there) == {
        "src": f"{URL}/static/js/okeanides.{NAMED}.js",
        "integrity": HASH,
        "crossorigin": "anonymous",
        "data-site": "shop",
        "data-consent": '</script>"',
    }


def test_wordpress_is_given_a_plugin_with_the_tag_and_the_image():
    text = snippet.snippet(site('privacy: {consent: "it\'s"}'), URL, "wordpress", SCRIPT)

    assert text.startswith("<?php\n/**\n * Plugin Name: oceanus, site shop\n")
    assert f"\t\t'src' => '{URL}/static/js/okeanides.{NAMED}.js',\n" in text
    assert "\t\t'defer' => true,\n" in text
    assert "\t\t'data-consent' => 'it\\'s',\n" in text
    assert f"{URL}/swallow/shop?oid=2&amp;evt=pageview&amp;sid=0&amp;url=' . rawurlencode(" in text


@pytest.mark.parametrize(
    ("method", "kind", "page", "sentence"),
    [
        ("swallow", "noscript", "", "an image cannot know where it stands: --page https://www.shop.example/ says it"),
        ("swallow", "noscript", "javascript:1", "an image cannot know where it stands"),
        ("pirate", "noscript", "", "shop is a site of method pirate: images go to swallow or gaze"),
        ("gaze", "tag", "", "shop is a site of method gaze, to which no script sends"),
        ("pierce", "gtm", "", "shop is a site of method pierce, to which no script sends"),
    ],
)
def test_what_a_site_cannot_have_is_a_sentence(method, kind, page, sentence):
    with pytest.raises(snippet.NoSnippetError) as caught:
        snippet.snippet(site(method=method), URL, kind, SCRIPT, page=page)

    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    "url", ["log.shop.example", "ftp://a", "https://", 'https://a/"', "https://a?b", "https://a#b", "https://[", ""]
)
def test_an_address_that_is_none_is_a_sentence(url):
    with pytest.raises(snippet.NoSnippetError, match="must be an address such as"):
        snippet.snippet(site(), url, "tag", SCRIPT)


@given(st.text())
def test_no_consent_parameter_leaves_its_quotes(name):
    one = site("privacy: {consent: x}")
    told = sites.Privacy(policy="keep", consent=name or "x", mask=None)
    odd = sites.Site(**{field: getattr(one, field) for field in one.__dataclass_fields__} | {"privacy": told})

    tag = script_of(snippet.snippet(odd, URL, "tag", SCRIPT))
    gtm = snippet.snippet(odd, URL, "gtm", SCRIPT)

    assert len(tag) == 6
    assert [name for name, _ in Elements(gtm).found] == ["script"]
