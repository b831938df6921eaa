"""Who keeps a visitor's session: the script, arms by a cookie of its own, or nobody; and never for who objects."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arms import visits
from management.again import Judge
from management.failed import Row
from oceanus import records, sites
from oceanus.tables import Naming
from tests.conftest import RedisProcess

from .conftest import GOOD, Arms, sample
from .serving import Serve

MakeArms = Callable[..., Arms]
SID, OTHER = GOOD["sid"], "00112233445566ff"
KEPT = (
    "{method: swallow, shape: access, tracker: {cookie: arms, endpoint: /x}, cookie_domain: .shop.example,"
    " origins: {allow: ['https://www.shop.example']}, privacy: {policy: POLICY, consent: consent}}"
)
NOWHERE = "{method: swallow, shape: access, tracker: {cookie: none}}"
FORM = KEPT.replace("swallow", "pirate").replace("access", "form").replace("/x", "/y")
GIVEN = "; Path=/; Domain=.shop.example; Max-Age=34560000; SameSite=Lax"
NO_SID = "oid=2&evt=pageview&url=https%3A%2F%2Fshop.example%2F"


@pytest.fixture
def arms(make_arms: MakeArms) -> Arms:
    """bizocean's and docreq's sessions are kept by arms, bizpow's by nobody."""
    return make_arms(bizocean=KEPT.replace("POLICY", "keep"), bizpow=NOWHERE, docreq=FORM.replace("POLICY", "keep"))


def sids(arms: Arms, site: str = "bizocean") -> list[str]:
    return [record["sid"] for record in arms.spool.records(site)]


def test_arms_sets_the_script_s_cookie_as_the_beacon_says_it(arms: Arms) -> None:
    response = arms.swallow(headers={"Cookie": f"a=b; oceanus_sid={OTHER}"})

    assert response.headers["set-cookie"] == f"oceanus_sid={SID}{GIVEN}"
    assert sids(arms) == [SID]


def test_a_beacon_that_brings_no_session_has_that_of_the_cookie(arms: Arms) -> None:
    response = arms.get("/swallow/bizocean", NO_SID, Cookie=f"oceanus_sid=short; oceanus_sid={OTHER}")

    assert response.headers["set-cookie"] == f"oceanus_sid={OTHER}{GIVEN}"
    assert sids(arms) == [OTHER]


def test_a_visitor_without_script_gets_a_session_and_keeps_it(arms: Arms) -> None:
    first = arms.get("/x", NO_SID)
    cookie = first.headers["set-cookie"].partition(";")[0]
    second = arms.get("/x", NO_SID, Cookie=cookie)

    assert re.fullmatch("oceanus_sid=[0-9a-f]{16}", cookie)
    assert second.headers["set-cookie"] == f"{cookie}{GIVEN}"
    assert sids(arms) == [cookie.partition("=")[2]] * 2


@pytest.mark.parametrize("said", ["https", "HTTPS, http"])
def test_a_cookie_that_came_by_tls_is_for_tls_alone(arms: Arms, said: str) -> None:
    assert arms.swallow(headers={"X-Forwarded-Proto": said}).headers["set-cookie"].endswith("; SameSite=Lax; Secure")
    assert arms.swallow(headers={"X-Forwarded-Proto": "http"}).headers["set-cookie"].endswith("; SameSite=Lax")


@pytest.mark.parametrize("policy", ["keep", "anonymous", "drop"])
@pytest.mark.parametrize(
    ("headers", "query"),
    [({"Sec_GPC": "1"}, ""), ({"DNT": "1"}, ""), ({}, "&consent=denied"), ({}, "&consent=granted&consent=NO")],
)
def test_who_objects_gets_no_cookie_and_is_not_known_again(
    make_arms: MakeArms, policy: str, headers: dict[str, str], query: str
) -> None:
    arms = make_arms(bizocean=KEPT.replace("POLICY", policy))

    responses = [
        arms.get("/swallow/bizocean", NO_SID + query, Cookie=f"oceanus_sid={OTHER}", **headers),
        arms.get("/swallow/bizocean", f"{NO_SID}&sid={SID}{query}", **headers),
    ]

    assert [(response.status_code, "set-cookie" in response.headers) for response in responses] == [(200, False)] * 2
    assert OTHER not in sids(arms)
    assert len(sids(arms)) == (0 if policy == "drop" else 2)


def test_a_batch_is_one_visit(arms: Arms) -> None:
    bare = dict(part.split("=") for part in NO_SID.split("&"))
    beacons: list[Any] = [bare, bare | {"sid": ""}, bare | {"sid": SID}, "no beacon"]

    response = arms.post("/x", orjson.dumps(beacons))

    assert [result["status"] for result in response.json["results"]] == [200, 200, 200, 400]
    assert response.headers["set-cookie"] == f"oceanus_sid={SID}{GIVEN}"
    assert sids(arms) == [SID, SID, SID]


@pytest.mark.parametrize("objection", ['{"consent": "denied"}', '{"consent": false}', '{"consent": "denied"'])
def test_one_no_in_a_batch_is_a_no(arms: Arms, objection: str) -> None:
    bare = orjson.dumps(dict(part.split("=") for part in NO_SID.split("&"))).decode()

    response = arms.post("/swallow/bizocean", f"{bare}\n{objection}\n")

    assert response.json["results"][0]["status"] == 200
    assert "set-cookie" not in response.headers


def test_forms_have_sessions_too(arms: Arms) -> None:
    responses = [
        arms.post("/pirate/docreq", "name=a", Content_Type="application/x-www-form-urlencoded"),
        arms.post("/y", '{"name": "b"}', Cookie=f"oceanus_sid={OTHER}"),
        arms.post("/y", '{"name": "c", "consent": "denied"}', query="sid=ab"),
    ]

    assert [response.status_code for response in responses] == [200] * 3
    first, *others = sids(arms, "docreq")
    assert others == [OTHER, "ab"]
    assert [response.headers.get("set-cookie") for response in responses] == [
        f"oceanus_sid={first}{GIVEN}",
        f"oceanus_sid={OTHER}{GIVEN}",
        None,
    ]


def test_where_nobody_keeps_a_session_each_beacon_without_one_has_its_own(arms: Arms) -> None:
    responses = [
        arms.get("/swallow/bizpow", NO_SID, Cookie=f"oceanus_sid={OTHER}"),
        arms.get("/swallow/bizpow", NO_SID),
        arms.get("/swallow/bizpow", f"{NO_SID}&sid={SID}"),
    ]

    assert all("set-cookie" not in response.headers for response in responses)
    seen = sids(arms, "bizpow")
    assert [visits.is_session(sid) for sid in seen] == [True] * 3
    assert len({*seen, OTHER}) == 4
    assert seen[2] == SID


def test_where_the_script_keeps_it_arms_sets_nothing_and_gives_nothing(arms: Arms) -> None:
    assert "set-cookie" not in arms.swallow("skj").headers
    assert arms.get("/swallow/skj", NO_SID, Cookie=f"oceanus_sid={OTHER}").status_code == 400


def test_a_head_and_a_preflight_set_no_cookie(arms: Arms) -> None:
    head, options = (
        ask("/x", headers={"Origin": "https://www.shop.example"})
        for ask in (arms.client.simulate_head, arms.client.simulate_options)
    )

    assert (head.status_code, options.status_code) == (200, 204)
    assert "set-cookie" not in head.headers.keys() | options.headers.keys()


def test_what_cannot_be_read_sets_no_cookie(arms: Arms) -> None:
    response = arms.get("/swallow/bizocean", f"{NO_SID}&sid={SID}&consent=%ff")

    assert (response.status_code, "set-cookie" in response.headers) == (400, False)


def test_a_rejected_beacon_keeps_the_session_that_it_was_given_and_can_be_sent_again(arms: Arms) -> None:
    arms.get("/x", f"{NO_SID}&tit={'t' * 1025}", Cookie=f"oceanus_sid={OTHER}")
    [failed] = arms.spool.records("bizocean", "failed")
    mended = sites.parse(sample(bizocean=KEPT.replace("POLICY", "keep")).replace("maxlength: 1024", "maxlength: 2048"))
    row = Row(**{name: failed[name] for name in ("fid", "site", "stage", "reason", "eid", "raw")}, dt_us=arms.now_us)

    again = Judge(mended, Naming("oceanus", ""), None, arms.now_us).judge(row)

    assert not isinstance(again, str), again
    assert records.decode(again.retry.record)["sid"] == OTHER


def test_a_site_s_own_endpoint_is_its_site_by_a_real_server(
    serve: Serve, redis_server: RedisProcess, tmp_path: Path
) -> None:
    (tmp_path / "sites.yaml").write_text(sample(skj=KEPT.replace("POLICY", "keep")), encoding="utf-8")
    server = serve(redis_server, SITES_FILE=str(tmp_path / "sites.yaml"))
    page = {"Origin": "https://www.shop.example"}

    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", headers=page, timeout=20) as browser:
        asked = browser.options("/x", headers={"Access-Control-Request-Method": "POST"})
        answers = [
            browser.get("/x", params=GOOD),
            browser.post("/x", content=orjson.dumps([GOOD, GOOD])),
            browser.get("/x/", params=GOOD),
        ]
        elsewhere = browser.get("/x/y", params=GOOD)

    assert (asked.status_code, elsewhere.status_code) == (204, 404)
    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers.get_list("set-cookie") == [f"oceanus_sid={SID}{GIVEN}"]
        assert answer.headers["access-control-allow-origin"] == page["Origin"]
    stored = redis_server.client().lrange("oceanus:{skj}:queue", 0, -1)
    assert [orjson.loads(text)["sid"] for text in stored] == [SID] * 4


@given(st.text(max_size=80), st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=20))))
def test_whatever_a_browser_says_the_cookie_is_a_session_of_ours(header: str, brought: list[Any]) -> None:
    site = sites.parse(sample(bizocean=KEPT.replace("POLICY", "keep")))["bizocean"]

    visit = visits.visit(site, brought, f"{header}; oceanus_sid={header}", OTHER, objects=False, is_https=True)

    assert visits.is_session(visit.sid)
    assert visit.cookie == f"oceanus_sid={visit.sid}{GIVEN}; Secure"


@given(st.lists(st.one_of(st.none(), st.text(), st.dictionaries(st.sampled_from(["sid", "a"]), st.text(max_size=3)))))
def test_only_beacons_without_a_session_are_given_one(beacons: list[Any]) -> None:
    named = visits.named(beacons, OTHER)

    assert len(named) == len(beacons)
    for before, after in zip(beacons, named, strict=True):
        is_given = isinstance(before, dict) and not before.get("sid")
        assert after == (before | {"sid": OTHER} if is_given else before)
