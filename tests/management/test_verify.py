"""What a page's HTML tells of the tracker, whoever wrote it, and what is said of it."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arms.fingerprints import fingerprint, integrity
from management import verify
from management.csp import policies
from management.doctor import OK, WARNING, WRONG
from management.verify import Answer, Seen, Tag, look
from oceanus import sites

PAGE = "https://www.shop.example/cart"
ARMS = "https://log.shop.example"
SCRIPT = b"(function(){})()"
NAMED = f"{ARMS}/static/js/okeanides.{fingerprint(SCRIPT)}.js"
NEW = f'<script defer src="{NAMED}" integrity="{integrity(SCRIPT)}" crossorigin="anonymous" data-site="shop"></script>'


def seen(html: str, **paths: str) -> Seen:
    return look(html, PAGE, {f"/{path}.js": site for path, site in paths.items()})


def kinds(html: str) -> list[tuple[str, str, str]]:
    return [(tag.kind, tag.site, tag.endpoint) for tag in seen(html).tags]


def states(findings: list[verify.Finding]) -> list[str]:
    return [one.state for one in findings]


@pytest.mark.parametrize(
    ("html", "found"),
    [
        (NEW, ("okeanides", "shop", f"{ARMS}/swallow/shop")),
        (f'<SCRIPT SRC="{ARMS}/static/js/okeanides.full.js">', ("okeanides", "", f"{ARMS}/swallow/")),
        (f'<script src="{NAMED}" data-endpoint="/t/x" data-site="a"/>', ("okeanides", "a", f"{ARMS}/t/x")),
        (f'<script src="{ARMS}/static/js/pirate.js"></script>', ("pirate", "", f"{ARMS}/pirate/movieform")),
        (f'<script src="{ARMS}/static/js/conversion.js"></script>', ("conversion", "", "")),
        ('<script src="//log.shop.example/x/okeanides.js">', ("okeanides", "", f"{ARMS}/swallow/")),
        (f'<base href="{ARMS}/a/"><script src="okeanides.js">', ("okeanides", "", f"{ARMS}/swallow/")),
        (f'<noscript><img src="{ARMS}/swallow/shop?evt=pageview">', ("image", "shop", f"{ARMS}/swallow/shop")),
        (
            f'<script src="{NAMED}" src="/other.js" data-site="a" data-site="b">',
            ("okeanides", "a", f"{ARMS}/swallow/a"),
        ),
    ],
)
def test_each_kind_of_tag_is_found_with_where_it_sends(html: str, found: tuple[str, str, str]) -> None:
    assert kinds(f"<!doctype html><html><head>{html}</head></html>") == [found]


@pytest.mark.parametrize(
    "html",
    [
        "",
        '<script src="/jquery.js"></script>',
        f"<!-- {NEW} -->",
        f"<textarea>{NEW}</textarea>",
        f"<template>{NEW}</template>",
        f"<script>document.write('{NEW.replace('</script>', '')}')</script>",
        '<script src="ftp://a/okeanides.js"></script>',
        '<script src="https://[/okeanides.js"></script>',
        '<script src="http://a:x/okeanides.js"></script>',
        f'<img src="{ARMS}/pixel.gif">',
    ],
)
def test_what_a_browser_would_not_load_is_no_tag(html: str) -> None:
    assert kinds(html) == []


def test_a_script_under_a_path_of_the_sites_own_is_found_by_sites_yaml() -> None:
    names = ("menu", f"menu.{fingerprint(SCRIPT)}")

    found = [seen(f'<script src="{ARMS}/{name}.js">', menu="shop").tags for name in names]

    assert [[tag.site for tag in tags] for tags in found] == [["shop"], ["shop"]]


@pytest.mark.parametrize(
    ("html", "state", "words"),
    [
        (NEW, OK, "the script tag, site shop"),
        (f'<script>var oceanus = [];</script><script src="{ARMS}/okeanides.js">', OK, "the original's snippet"),
        ("<p>hello", WRONG, "not in the HTML"),
        (f"<!-- {NEW} -->", WRONG, "within a comment"),
        (
            "<script>(function(w){w['dataLayer'].push({'gtm.start': 1})})(window)</script>",
            WARNING,
            "Google Tag Manager",
        ),
        (f"<script>s.setAttribute('src', '{NAMED}')</script>", WARNING, "a script in the page builds it"),
    ],
)
def test_what_there_is_is_said_and_what_cannot_be_seen(html: str, state: str, words: str) -> None:
    [finding] = verify.of_tags(seen(html), "")

    assert (finding.state, words in finding.sentence) == (state, True)


def test_two_trackers_on_a_page_are_told_and_consent_that_is_waited_for() -> None:
    waiting = NEW.replace("defer", 'defer data-consent="wait"')

    found = verify.of_tags(seen(NEW + waiting), "")

    assert [(one.about, one.state) for one in found] == [
        ("tag", OK), ("tag", OK), ("tag", WARNING), ("consent", OK),
    ]  # fmt: skip


def test_a_tag_that_a_consent_manager_holds_back_is_told() -> None:
    found = verify.of_tags(seen(NEW.replace("defer", 'type="text/plain"')), "")

    assert states(found) == [OK, WARNING]


def tag(**attributes: str) -> Tag:
    return Tag(kind="okeanides", script=NAMED, site="shop", endpoint=f"{ARMS}/swallow/shop", attributes=attributes)


def script(body: bytes = SCRIPT, status: int = 200, **headers: str) -> Answer:
    told = {"access-control-allow-origin": "*"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(url=NAMED, status=status, headers=told, body=body)


GOOD = {"integrity": integrity(SCRIPT), "crossorigin": "anonymous"}
WEAK = "sha256-" + base64.b64encode(hashlib.sha256(SCRIPT).digest()).decode()


@pytest.mark.parametrize(
    ("attributes", "answer", "words"),
    [
        (GOOD, script(), ""),
        ({}, script(), ""),
        ({"integrity": f"{WEAK} {integrity(SCRIPT)}", "crossorigin": ""}, script(), ""),
        ({"integrity": f"{WEAK} {integrity(b'other')}", "crossorigin": ""}, script(), "is not that of `integrity`"),
        ({"integrity": integrity(b"other"), "crossorigin": ""}, script(), "is not that of `integrity`"),
        ({"integrity": "nonsense"}, script(), ""),  # browsers ignore it, too
        ({"integrity": integrity(SCRIPT)}, script(), "without `crossorigin`"),
        (GOOD, script(access_control_allow_origin="https://b"), "without Access-Control-Allow-Origin"),
        ({}, script(b"changed"), "is not what its name says"),
        (GOOD, script(status=404), "answers 404"),
        (GOOD, Answer(url=NAMED, trouble="no answer: refused"), "no answer: refused"),
    ],
)
def test_a_script_that_a_browser_would_not_run_is_named(attributes: dict[str, str], answer: Answer, words: str) -> None:
    found = verify.of_script(tag(**attributes), PAGE, answer, [SCRIPT])

    assert states(found) == ([WRONG] if words else [OK])
    assert words in found[0].sentence


def test_a_script_of_another_release_is_no_mistake() -> None:
    [finding] = verify.of_script(tag(**GOOD), PAGE, script(), [b"ours"])

    assert (finding.state, "is of another release" in finding.sentence) == (OK, True)


def test_http_on_a_page_of_https_is_blocked() -> None:
    plain = Tag(kind="okeanides", script=NAMED.replace("https", "http"))

    assert states(verify.of_script(plain, PAGE, script(), [])) == [WRONG]


def test_a_policy_must_allow_script_and_beacon() -> None:
    found = verify.of_policy([tag()], policies(["default-src 'self'; script-src https://log.shop.example"]), PAGE)

    assert [(one.state, one.remedy) for one in found] == [(WRONG, f"add {ARMS} (or the nonce) to connect-src")]
    assert states(verify.of_policy([tag()], [], PAGE)) == [OK]


@pytest.mark.parametrize(
    ("status", "error", "state", "remedy"),
    [
        (200, "", OK, ""),
        (302, "", WRONG, "is that arms?"),
        (400, "evt: required field", WRONG, "asks for more"),
        (403, "origin", WRONG, "add https://www.shop.example to the site's origins"),
        (404, "", WRONG, "declares no such site"),
        (503, "", WRONG, "oceanus doctor"),
    ],
)
def test_what_the_endpoint_answers_has_its_remedy(status: int, error: str, state: str, remedy: str) -> None:
    headers = {"x-oceanus-error": error} if error else {}

    finding = verify.of_beacon(Answer(url=f"{ARMS}/swallow/shop", status=status, headers=headers), PAGE)

    assert (finding.state, error in finding.sentence, remedy in finding.remedy) == (state, True, True)


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Answer(url=f"{ARMS}/swallow/shpo", status=404), WRONG),
        (Answer(url=f"{ARMS}/swallow/shpo", trouble="no answer: refused"), WRONG),
        (Answer(url=f"{ARMS}/swallow/shop", status=200), WARNING),
        (Answer(url=f"{ARMS}/swallow/shop", status=405), WARNING),
    ],
)
def test_a_site_that_only_arms_can_know_is_wrong_where_arms_does_not(answer: Answer, state: str) -> None:
    assert verify.of_undeclared(answer, PAGE, "shpo", "sites.yaml").state == state


def test_a_field_that_no_page_view_brings_is_named() -> None:
    shape = """shapes: {own: {fields: {dt: {from: clock, type: TIMESTAMP, mode: REQUIRED},
      page: {from: query, rule: {type: string, required: true}},
      url: {from: query, rule: {type: string, required: true}},
      cur: {from: query, rule: {type: string, required: true, default: JPY}}}}}
sites: {shop: {method: swallow, shape: own}, ours: {method: pierce, shape: own}}"""
    declared = sites.parse(shape)

    [found] = verify.of_page_view(declared["shop"])

    assert (found.about, found.state) == ("fields", WRONG)
    assert "requires page, which" in found.sentence
    assert list(verify.of_page_view(declared["ours"])) == []
    assert [list(verify.of_page_view(site)) for site in sites.load(str(sites.SAMPLE)).values()] == [[]] * 10


def test_where_a_beacon_is_and_how_old_the_last_one() -> None:
    places = [verify.of_arrival("shop", place, 10.0).state for place in ("row", "waits", "unknown")]
    ages = [verify.of_last("shop", seconds).state for seconds in (3.0, 90_000.0, None)]

    assert places == [OK, WARNING, WRONG]
    assert ages == [OK, WARNING, WARNING]


PIECES = [
    "<", ">", "<!", "<![", "<![foo[", "<!--", "-->", "--", "</", "<?", "&#", "&#x110000;", '"', "'", "=", "\0", "\r\n",
    "<script", "<script src=", "</script", "<base href=", "<img src=",
    "<meta http-equiv=content-security-policy content=",
    "<template>", "</template>", "okeanides.js", "/swallow/shop?evt=", "http://[", "//", "data-site=", " ",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=40).map("".join))
def test_whatever_a_page_holds_is_read_to_its_end(html: str) -> None:
    found = seen(html, menu="shop")

    addresses = [address for one in found.tags for address in (one.script, one.endpoint) if address]
    assert all(address.startswith(("https://", "http://")) for address in addresses)
    assert verify.of_tags(found, "")
    assert verify.of_policy(found.tags, policies(found.policies), PAGE)


@given(st.text(alphabet=st.characters(exclude_characters="<&")), st.text(max_size=40))
def test_a_tag_is_found_whatever_words_stand_around_it(before: str, after: str) -> None:
    assert kinds(f"<p>{before}</p>{NEW}{after}")[0] == ("okeanides", "shop", f"{ARMS}/swallow/shop")
