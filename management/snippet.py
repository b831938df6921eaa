"""Snippets: the text that a site's owner puts into pages, as the site is declared. Pure.

A tag names its script by fingerprint, with its hash for Subresource Integrity: what runs on the page is these bytes or
nothing. With `newest` it names what the collector serves at the time, and so has no hash.
"""

import json
import re
from collections.abc import Mapping
from html import escape
from urllib.parse import urlencode, urlsplit

from arms.fingerprints import SCRIPTS, fingerprinted, integrity
from oceanus.sites import Site

KINDS = ("tag", "noscript", "gtm", "wordpress")
# The session of visitors without script, where arms gives them none.
NO_SESSION = "0"
_UNWRITABLE = re.compile(r"[\s\"'<>\\]")


class NoSnippetError(ValueError):
    """There is no such text for this site or these words; the sentence says what there is."""


def snippet(
    site: Site, url: str, kind: str, script: bytes, *, nonce: str = "", page: str = "", newest: bool = False
) -> str:
    """Return the ready text of a kind for `site`; raises NoSnippetError.

    `url` is the collector's address as browsers see it, such as https://log.shop.example; `script` is the content of
    the site's script; `nonce` is put into the tag as it is, for it may be what a template replaces; `page` is what an
    image without script says of its page.
    """
    base = address(url)
    if kind == "noscript":
        return noscript(site, base, page)
    attributes = script_attributes(site, base, script, newest=newest)
    if kind == "gtm":
        return _gtm(attributes)
    if kind == "wordpress":
        return _wordpress(site, base, attributes)
    return _tag(attributes, nonce)


def address(url: str) -> str:
    """Return a collector's address without a slash at its end; raises NoSnippetError if it is none."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
    except ValueError:
        fits = False
    if not fits or _UNWRITABLE.search(url):
        raise NoSnippetError(f"{url!r} must be an address such as https://log.shop.example")
    return url.rstrip("/")


def endpoint(site: Site, url: str) -> str:
    """Return where a site's beacons go."""
    return f"{address(url)}{site.tracker.endpoint or f'/{site.method}/{site.name}'}"


def script_name(site: Site) -> str:
    """Return the file name of the script that sends to a site; raises NoSnippetError."""
    if site.method not in SCRIPTS:
        raise NoSnippetError(f"{site.name} is a site of method {site.method}, to which no script sends")
    return SCRIPTS[site.method]


def script_attributes(site: Site, url: str, script: bytes, *, newest: bool = False) -> dict[str, str]:
    """Return the attributes of a site's script tag, in their order; one without a value is empty.

    Raises NoSnippetError.
    """
    path = site.tracker.path or f"/static/js/{script_name(site)}"
    source = f"{address(url)}{path if newest else fingerprinted(path, script)}"
    proof = {} if newest else {"integrity": integrity(script), "crossorigin": "anonymous"}
    said = {
        "data-site": site.name,
        "data-endpoint": endpoint(site, url) if site.tracker.endpoint else None,
        "data-cookie": site.tracker.cookie if site.tracker.cookie != "script" else None,
        "data-cookie-domain": site.cookie_domain if site.tracker.cookie != "none" else None,
        "data-consent": site.privacy.consent,
    }
    return {"defer": "", "src": source, **proof, **{name: value for name, value in said.items() if value}}


def noscript(site: Site, url: str, page: str = "") -> str:
    """Return the image for visitors without script, or for a mail; raises NoSnippetError."""
    if site.method == "gaze":
        return f"{_image(f'{endpoint(site, url)}?{urlencode({"oid": "2", "evt": "open"})}')}\n"
    if site.method != "swallow":
        raise NoSnippetError(f"{site.name} is a site of method {site.method}: images go to swallow or gaze")
    if not page and len(site.origins.allow) == 1:
        page = f"{next(iter(site.origins.allow))}/"
    if not page.startswith(("https://", "http://")) or _UNWRITABLE.search(page):
        raise NoSnippetError("an image cannot know where it stands: --page https://www.shop.example/ says it")
    return f"<noscript>{_image(f'{_page_view(site, url)}&{urlencode({"url": page})}')}</noscript>\n"


def _page_view(site: Site, url: str) -> str:
    """Return the address of a page view by an image, but for its page."""
    session = {"sid": NO_SESSION} if site.tracker.cookie == "script" else {}
    return f"{endpoint(site, url)}?{urlencode({'oid': '2', 'evt': 'pageview'} | session)}"


def _image(source: str) -> str:
    return f'<img src="{escape(source)}" width="1" height="1" alt="" style="position:absolute">'


def _tag(attributes: Mapping[str, str], nonce: str) -> str:
    if '"' in nonce or "\n" in nonce:
        raise NoSnippetError(f"--nonce {nonce!r}: it stands within quotes, so it can have none")
    words = [f'{name}="{escape(value)}"' if value else name for name, value in attributes.items()]
    return f"<script {' '.join([*words, *([f'nonce="{nonce}"'] if nonce else [])])}></script>\n"


def _gtm(attributes: Mapping[str, str]) -> str:
    """Return a tag of the kind Custom HTML; Tag Manager strips attributes, so that a script has to set them."""
    return "\n".join(
        [
            "<script>",
            "(function () {",
            '  var s = document.createElement("script"), n = document.querySelector("script[nonce]");',
            "  s.async = true;",
            "  if (n) s.nonce = n.nonce;",
            *(f"  s.setAttribute({_js(name)}, {_js(value)});" for name, value in attributes.items() if value),
            "  document.head.appendChild(s);",
            "})();",
            "</script>\n",
        ]
    )


def _wordpress(site: Site, url: str, attributes: Mapping[str, str]) -> str:
    """Return a plugin of one file; by wp_print_script_tag a plugin for CSP can add its nonce."""
    lines = [
        "<?php",
        "/**",
        f" * Plugin Name: oceanus, site {site.name}",
        " * Description: Save as wp-content/mu-plugins/oceanus.php; it needs no more.",
        " * Requires at least: 5.7",
        " */",
        "",
        "add_action( 'wp_head', function () {",
        "\twp_print_script_tag( array(",
        *(f"\t\t{_php(name)} => {_php(value) if value else 'true'}," for name, value in attributes.items()),
        "\t) );",
        "} );",
    ]
    if site.method == "swallow":
        lines += _wordpress_image(site, url)
    return "\n".join(lines) + "\n"


def _wordpress_image(site: Site, url: str) -> list[str]:
    """Return the lines for visitors without script: PHP knows which page it makes."""
    head, _, tail = f"<noscript>{_image(f'{_page_view(site, url)}&url=PAGE')}</noscript>".partition("PAGE")
    return [
        "",
        "add_action( 'wp_body_open', function () {",
        "\t$page = set_url_scheme( 'http://' . $_SERVER['HTTP_HOST'] . $_SERVER['REQUEST_URI'] );",
        f"\techo {_php(head)} . rawurlencode( substr( $page, 0, 1024 ) ) . {_php(tail)};",
        "} );",
    ]


def _js(text: str) -> str:
    """Return a text as a script within HTML writes it."""
    return json.dumps(text).replace("<", "\\u003c")


def _php(text: str) -> str:
    """Return a text as PHP writes it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
