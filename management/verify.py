"""What a page's HTML says of the tracker, and what is wrong with that. Pure.

A browser does more: scripts build elements, tag managers load others, extensions block them. None of that can be seen
in the HTML, and it is said where it matters.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

from arms.fingerprints import fingerprint
from management import csp
from management.csp import Policy, Wanted
from management.doctor import Finding, ok, warning, wrong
from management.wording import DAY, age
from oceanus.sites import Site

# The scripts of arms that a page loads, and what each is; a fingerprint may stand in the name.
_SCRIPT = re.compile(r"(okeanides(?:\.full)?|pirate|conversion)(?:\.([0-9a-f]{16}))?\.js")
_FINGERPRINTED = re.compile(r"\.[0-9a-f]{16}(\.js)$")
_IMAGE = re.compile(r"/(swallow|gaze)/([^/?#]+)")
_ORIGINAL = re.compile(r"\bvar\s+oceanus\s*=|\boceanus\.(?:q|f|a|c)\b|\boceanus_pirate\b|\boceanus_(?:oid|evt|jsn)\b")
_BUILT = re.compile(r"(?:okeanides|pirate)(?:\.full)?(?:\.[0-9a-f]{16})?\.js")
_MANAGERS = {
    "googletagmanager.com": "Google Tag Manager",
    "gtm.start": "Google Tag Manager",
    "assets.adobedtm.com": "Adobe Launch",
    "tags.tiqcdn.com": "Tealium",
    "cdn.segment.com": "Segment",
    "matomo.js": "Matomo Tag Manager",
}
# What our tracker sends of every page (tracker/src/tracker.ts); a referrer, a visitor's id or `jsn` not all have.
OF_EVERY_PAGE = frozenset(
    ("oid", "evt", "tit", "url", "enc", "scr", "vie", "pid", "lang", "tz", "ver", "sid", "late", "cid")
)
# What stands in these is text to a browser, or not in the page.
_INERT = {"textarea", "title", "template", "iframe", "noembed", "xmp"}
# Of a script that browsers run.
_TYPES = ("", "text/javascript", "application/javascript", "application/x-javascript", "text/ecmascript", "module")
_ALGORITHMS = ("sha512", "sha384", "sha256")  # a browser takes the strongest that is there
_SRI = re.compile(r"(sha256|sha384|sha512)-([A-Za-z0-9+/=_-]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A tag of ours on a page; addresses are whole ones. `site` is empty where arms takes its first one.

    `kind`: okeanides, pirate, conversion, or image. `script` is empty for an image, `endpoint` for a conversion.
    """

    kind: str
    script: str = ""
    site: str = ""
    endpoint: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Seen:
    """What a page's HTML has in it: tags, and what may bring or hinder them."""

    tags: list[Tag] = field(default_factory=list)
    commented: int = 0
    original: bool = False
    built: bool = False
    managers: list[str] = field(default_factory=list)
    policies: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came from an address: `url` is where redirects ended (`hops` on the way), `trouble` why nothing came."""

    url: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    policies: Sequence[str] = ()
    body: bytes = b""
    is_cut: bool = False
    hops: Sequence[str] = ()
    trouble: str = ""


def look(html: str, page: str, paths: Mapping[str, str]) -> Seen:
    """Return what the HTML of a page (its address) has; `paths`: the sites' own script paths, and whose each is."""
    reader = _Reader(page, paths)
    reader.feed(html)
    reader.close()
    reader.seen.managers = sorted(set(reader.seen.managers))
    return reader.seen


class _Reader(HTMLParser):
    """Reads HTML as it comes; whatever is wrong with it, it goes on."""

    def __init__(self, page: str, paths: Mapping[str, str]) -> None:
        super().__init__(convert_charrefs=True)
        self.seen = Seen()
        self._base = page
        self._paths = paths
        self._inert: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what matters; of an attribute that is there twice a browser takes the first."""
        if tag in _INERT:
            self._inert.append(tag)
        if self._inert:
            return
        found: dict[str, str] = {}
        for name, value in attrs:
            found.setdefault(name, value or "")
        self._take(tag, found)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take `<script ... />` as browsers do: as a start."""
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        """Leave what is closed."""
        if tag in self._inert:
            del self._inert[self._inert.index(tag) :]
        if tag == "script":
            self._in_script = False

    def handle_data(self, data: str) -> None:
        """Look into scripts that stand in the page."""
        if not self._in_script or self._inert:
            return
        self.seen.original |= bool(_ORIGINAL.search(data))
        self.seen.built |= bool(_BUILT.search(data))
        self._note_managers(data)

    def handle_comment(self, data: str) -> None:
        """Count tags that somebody has put out of work."""
        self.seen.commented += len(_BUILT.findall(data)) if "<script" in data.lower() else 0

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        """Take `<![...` for a comment, as browsers do; the library would raise AssertionError."""
        return self.parse_bogus_comment(i, bool(report))

    def _take(self, tag: str, found: Mapping[str, str]) -> None:
        if tag == "base" and "href" in found:
            self._base = whole(self._base, found["href"]) or self._base
        elif tag == "meta" and found.get("http-equiv", "").lower() == "content-security-policy":
            self.seen.policies.append(found.get("content", ""))
        elif tag == "script":
            self._in_script = True
            self._note_managers(found.get("src", ""))
            self._add(_script(self._base, found, self._paths))
        elif tag == "img":
            self._add(_image(self._base, found))

    def _add(self, tag: Tag | None) -> None:
        if tag is not None:
            self.seen.tags.append(tag)

    def _note_managers(self, text: str) -> None:
        self.seen.managers += [name for mark, name in _MANAGERS.items() if mark in text]


def _script(base: str, found: Mapping[str, str], paths: Mapping[str, str]) -> Tag | None:
    url = whole(base, found.get("src", "").strip())
    if not url:
        return None
    path = urlsplit(url).path
    match = _SCRIPT.fullmatch(path.rpartition("/")[2])
    owner = paths.get(path) or paths.get(_FINGERPRINTED.sub(r"\1", path))
    if match is None and owner is None and not ("data-site" in found and "data-endpoint" in found):
        return None
    kind = match[1].removesuffix(".full") if match else "okeanides"
    site = found.get("data-site", "") or (owner or "")
    return Tag(kind=kind, script=url, site=site, endpoint=_endpoint(kind, url, site, found), attributes=dict(found))


def _endpoint(kind: str, script: str, site: str, found: Mapping[str, str]) -> str:
    """Return where the script will send, as tracker/src does it."""
    if kind == "conversion":
        return ""
    route = f"/pirate/{site or 'movieform'}" if kind == "pirate" else f"/swallow/{site}"
    return whole(script, found.get("data-endpoint", "").strip() or route)


def _image(base: str, found: Mapping[str, str]) -> Tag | None:
    url = whole(base, found.get("src", "").strip())
    match = _IMAGE.search(urlsplit(url).path) if url else None
    if match is None or "evt=" not in url:
        return None
    return Tag(kind="image", site=match[2], endpoint=url.partition("?")[0], attributes=dict(found))


def whole(base: str, address: str) -> str:
    """Return an address, seen from `base`, as a whole one; empty where it is none of http or https."""
    try:
        url = urljoin(base, address)
        fits = address and urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname
        urlsplit(url).port  # noqa: B018 - raises where it is no number
    except ValueError:
        return ""
    return url if fits else ""


# --- what is wrong


def of_page(answer: Answer) -> list[Finding]:
    """Judge whether there is a page at all."""
    redirected = "".join(f"{hop} -> " for hop in answer.hops)
    if answer.trouble:
        return [wrong("page", f"{redirected}{answer.url}: {answer.trouble}", "is the address right, and public?")]
    if answer.status != 200:
        remedy = "give the address of a page that visitors see; one behind a login cannot be asked for from here"
        return [wrong("page", f"{redirected}{answer.url} answers {answer.status}", remedy)]
    found = [ok("page", f"{redirected}{answer.url} answers 200")]
    if "html" not in answer.headers.get("content-type", "html"):
        found.append(warning("page", f"is {answer.headers['content-type']}", "give the address of a page of HTML"))
    if answer.is_cut:
        found.append(warning("page", f"only its first {len(answer.body):,} bytes were read", "put the tag into <head>"))
    return found


def of_tags(seen: Seen, site: str) -> list[Finding]:
    """Judge which tags there are; `site`: the one that somebody named, for a page that says nothing."""
    found = [ok("tag", _tag_sentence(tag, seen)) for tag in seen.tags]
    if not found:
        found = [_no_tag(seen, site)]
    if sum(tag.kind == "okeanides" for tag in seen.tags) > 1:
        found.append(warning("tag", "okeanides is there more than once: the second does nothing", "take one out"))
    for tag in seen.tags:
        kind = tag.attributes.get("type", "").strip().lower()
        if tag.script and kind not in _TYPES:
            sentence = (
                f'type="{kind}": browsers load it only when something, such as a consent manager, has changed that'
            )
            found.append(warning("tag", sentence, "open the page in a browser, and agree"))
        if tag.attributes.get("data-consent") in ("wait", "denied"):
            sentence = f"data-consent is {tag.attributes['data-consent']}: nothing is sent before oceanus.consent"
            found.append(ok("consent", f"{sentence}, which cannot be seen from here"))
    return found


def _tag_sentence(tag: Tag, seen: Seen) -> str:
    site = f"site {tag.site}" if tag.site else "the first site"
    if tag.kind == "image":
        return f"an image without script, {site}: {tag.endpoint}"
    if tag.kind == "conversion":
        return f"the original's conversion.js: {tag.script}"
    if tag.kind == "pirate":
        return f"pirate.js for forms, {site}: {tag.script}"
    is_new = any(name.startswith("data-") for name in tag.attributes)
    with_original = ", with the original's `var oceanus`" if seen.original else ""
    return f"{'the script tag' if is_new else "the original's snippet"}{with_original}, {site}: {tag.script}"


def _no_tag(seen: Seen, site: str) -> Finding:
    unseen = "; whether it does cannot be seen in the HTML: look for its requests in a browser (Network, swallow)"
    if seen.built:
        return warning("tag", f"a script in the page builds it{unseen}", "give --site and --url to try the rest")
    if seen.managers:
        remedy = "give --site and --url to try the rest, or put the tag of `oceanus snippet` into the page itself"
        return warning("tag", f"not in the HTML; {', '.join(seen.managers)} may load it{unseen}", remedy)
    if seen.commented:
        return wrong("tag", "it stands within a comment: no browser loads it", "take the comment away")
    sentence = "not in the HTML (a script that builds it would not be seen)"
    return wrong("tag", sentence, f"put the text of `oceanus snippet --site {site or 'NAME'}` into the page's <head>")


def of_script(tag: Tag, page: str, answer: Answer, known: Iterable[bytes]) -> list[Finding]:
    """Judge whether a browser takes the script of a tag on `page`; `known`: the scripts of this release."""
    if urlsplit(page).scheme == "https" and urlsplit(tag.script).scheme == "http":
        return [wrong("script", f"{tag.script} is http on a page of https: browsers block it", "serve arms by https")]
    if answer.trouble or answer.status != 200:
        told = answer.trouble or f"answers {answer.status}"
        remedy = "is arms reachable there? After an upgrade, print the tag again: `oceanus snippet`"
        return [wrong("script", f"{tag.script}: {told}", remedy)]
    kept = any(answer.body == one for one in known)
    release = "is that of this release" if kept else "is of another release than this oceanus"
    found = [*_named(tag, answer.body), *_integrity(tag, page, answer)]
    return found or [ok("script", f"loads, {len(answer.body):,} bytes, and {release}")]


def _named(tag: Tag, body: bytes) -> list[Finding]:
    match = re.search(r"\.([0-9a-f]{16})\.js$", urlsplit(tag.script).path)
    if match is None or match[1] == fingerprint(body):
        return []
    remedy = "something between here and arms changes it, or it is not arms: look at proxies and CDNs"
    return [wrong("script", f"its content is not what its name says ({match[1]})", remedy)]


def _integrity(tag: Tag, page: str, answer: Answer) -> Iterator[Finding]:
    wanted = tag.attributes.get("integrity", "")
    hashes = _SRI.findall(wanted)
    if not hashes:
        return
    strongest = next(name for name in _ALGORITHMS if any(kind == name for kind, _ in hashes))
    digest = base64.b64encode(hashlib.new(strongest, answer.body).digest()).decode()
    if all(told.replace("-", "+").replace("_", "/") != digest for kind, told in hashes if kind == strongest):
        remedy = "print the tag again: `oceanus snippet`"
        yield wrong("script", "its content is not that of `integrity`: browsers do not run it", remedy)
    if origin(tag.script) == origin(page):
        return
    if "crossorigin" not in tag.attributes:
        yield wrong(
            "script", "`integrity` without `crossorigin`: browsers do not run it", 'add crossorigin="anonymous"'
        )
    elif answer.headers.get("access-control-allow-origin") not in ("*", origin(page)):
        sentence = "it comes without Access-Control-Allow-Origin: browsers do not run it with `integrity`"
        yield wrong("script", sentence, "arms sends it: what stands in front of arms must let it through")


def of_policy(tags: Iterable[Tag], every: list[Policy], page: str) -> list[Finding]:
    """Judge whether the page's Content-Security-Policy lets the tags do their work."""
    if not every:
        return [ok("policy", "the page has no Content-Security-Policy")]
    found: dict[str, Finding] = {}
    for tag in tags:
        for name, wanted in _wanted(tag):
            directive = csp.refusing(every, wanted, page)
            if directive:
                sentence = f"{directive} refuses {wanted.url}"
                found[sentence] = wrong("policy", sentence, f"add {origin(wanted.url)} (or the nonce) to {name}")
    return list(found.values()) or [ok("policy", "the Content-Security-Policy allows it")]


def _wanted(tag: Tag) -> Iterator[tuple[str, Wanted]]:
    if tag.script:
        nonce, integrity = (tag.attributes.get(name, "") for name in ("nonce", "integrity"))
        yield "script-src", Wanted("script", tag.script, nonce, integrity)
    if tag.endpoint and tag.kind == "image":
        yield "img-src", Wanted("img", tag.endpoint)
    elif tag.endpoint:
        yield "connect-src", Wanted("connect", tag.endpoint)


def of_beacon(answer: Answer, page: str) -> Finding:
    """Judge what the endpoint has answered to a test beacon."""
    status, error = answer.status, answer.headers.get("x-oceanus-error", "")
    if answer.trouble:
        return wrong("beacon", f"{answer.url}: {answer.trouble}", "is arms reachable there from the internet?")
    if 200 <= status < 300 and not error:
        return ok("beacon", f"{answer.url} takes one ({status})")
    sentence = f"{answer.url} answers {status}{f': {error}' if error else ''}"
    remedies = {
        400: "the site's shape asks for more than a test beacon has: see `oceanus failed list`",
        403: f"add {origin(page)} to the site's origins in sites.yaml",
        404: "is the site spelt right in the tag? arms there declares no such site of this method, or is not arms",
        429: "the site has its daily_cap, or this address sends too fast: try again later",
        503: "neither Redis nor the journal takes it: `oceanus doctor`",
    }
    return wrong("beacon", sentence, remedies.get(status, "is that arms? What stands in front of it answers instead"))


def of_page_view(site: Site) -> Iterator[Finding]:
    """Judge whether a site takes what our tracker sends of every page; a test beacon has all that it asks for."""
    lacking = [
        field.name
        for field in site.fields
        if field.source in ("query", "form")
        and field.rule.get("required")
        and "default" not in field.rule
        and field.name not in OF_EVERY_PAGE
    ]
    if lacking and site.method == "swallow":
        sentence = f"{site.name} requires {', '.join(lacking)}, which a page view of our tracker does not bring"
        yield wrong("fields", sentence, "give it a default in the site's shape, or do not require it")


def of_undeclared(answer: Answer, page: str, site: str, file: str) -> Finding:
    """Judge what the endpoint answers to a HEAD, of a site that `file`, the sites.yaml of here, does not declare."""
    if answer.trouble or answer.status == 404:
        return of_beacon(answer, page)
    sentence = f"{file} declares no site {site or 'of method swallow'}: what it takes is not known here"
    return unseen("beacon", sentence, "set SITES_FILE to the file of that arms, and ask again")


def of_arrival(site: str, place: str, seconds: float) -> Finding:
    """Judge where a test beacon is that was accepted: `row`, `waits` in Redis, or `unknown`, after so many seconds."""
    if place == "row":
        return ok("arrival", f"the test beacon is a row of {site}")
    if place == "waits":
        sentence = f"the test beacon waits in Redis after {age(seconds)}"
        return warning("arrival", sentence, "`oceanus status` says how old the oldest is, `oceanus doctor` why")
    remedy = "does the page send to the arms of these settings? Else it waits in arms' journal: `oceanus status`"
    return wrong("arrival", f"the test beacon is neither in Redis nor in its table after {age(seconds)}", remedy)


def of_last(site: str, seconds: float | None) -> Finding:
    """Judge how old the last beacon of a site is; None: none ever came."""
    if seconds is None:
        remedy = "open the page in a browser: if nothing comes, look at its console and Network"
        return warning("last", f"{site} has never had a beacon before", remedy)
    if seconds > DAY:
        remedy = "open the page in a browser: does it send? Is it visited at all?"
        return warning("last", f"the last beacon of {site} came {age(seconds)} ago", remedy)
    return ok("last", f"the last beacon of {site} came {age(seconds)} ago")


def unseen(about: str, sentence: str, remedy: str) -> Finding:
    """Return what could not be seen from here: no mistake, but not proven."""
    return warning(about, sentence, remedy)


def origin(url: str) -> str:
    """Return the origin of an address, as browsers name it in `Origin`."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
