"""The beacon routes as existing pages and scripts rely on them, through the real application."""

import asyncio
from collections.abc import Callable
from urllib.parse import urlencode

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arms import beacons
from arms.answers import GIF
from arms.gather import NotStoredError
from oceanus import records

from .conftest import GOOD, TOKEN, Arms, sample

MakeArms = Callable[..., Arms]
TRUSTED = {"Authorization": f"Bearer {TOKEN}"}


# --- /swallow


def test_a_good_beacon_is_a_gif_and_one_record(arms: Arms) -> None:
    response = arms.client.simulate_get(
        "/swallow/bizocean",
        params=GOOD
        | {
            "evt": "PageView",
            "sid": "86895A04",
            "enc": "utf/-8",
            "uid": "7",
            "tit": "お問い合わせ😀",
            "jsn": '{"b": 1, "a": "é"}',
        },
        headers={"User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile/15E148"},
    )

    assert (response.status_code, response.content) == (200, GIF)
    assert response.headers["content-type"] == "image/gif"
    assert response.headers["cache-control"] == "no-cache, no-store, must-revalidate"
    assert response.headers["expires"] == "Mon, 01 Jan 1990 00:00:00 GMT"
    assert response.headers["pragma"] == "no-cache"
    assert response.headers["access-control-allow-origin"] == "*"
    [record] = arms.spool.records("bizocean")
    eid = record.pop("eid")
    assert records.received_us(eid) == pytest.approx(arms.now_us, abs=1)
    assert record == {
        "v": 1,
        "dt": records.time_text(arms.now_us),
        "oid": "2",
        "sid": "86895a04",
        "uid": "7",
        "rad": "127.0.0.1",
        "evt": "pageview",
        "tit": "お問い合わせ😀",
        "url": "https://shop.example/",
        "jsn": '{"a":"é","b":1}',
        "ua": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile/15E148",
        "dev": "mobile",
        "enc": "UTF-8",
    }


def test_no_site_in_the_path_means_the_first_of_its_method(arms: Arms) -> None:
    assert arms.client.simulate_get("/swallow", params=GOOD).status_code == 200
    assert arms.client.simulate_get("/swallow/", params=GOOD).status_code == 200

    assert len(arms.spool.records("bizocean")) == 2


@pytest.mark.parametrize("path", ["/swallow/nobody", "/swallow/movieform", "/gaze/bizocean", "/pierce/bizocean"])
def test_an_unknown_site_or_one_of_another_method_is_404(arms: Arms, path: str) -> None:
    response = arms.client.simulate_get(path, params=GOOD)

    assert response.status_code == 404
    assert response.text
    assert arms.spool.pushes == []


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("oid=2&evt=x&url=u", "sid: required field"),
        ("oid=2&evt=x&url=u&sid=", "sid: required field"),
        ("oid=2&evt=x&url=u&sid=xyz", "sid: value does not match"),
        ("oid=2&evt=x&url=u&sid=abc%0A", "sid: value does not match"),
        ("oid=2&evt=x&url=u&sid=ab&sid=cd", "sid: is given more than once"),
        ("oid=12345678901234567&evt=x&url=u&sid=ab", "oid: max length is 16"),
        ("oid=2&evt=x&url=" + "u" * 1025 + "&sid=ab", "url: max length is 1024"),
        ("oid=2&evt=x&url=u&sid=ab&jsn=%7B", "jsn: is not JSON"),
        ("oid=2&evt=x&url=u&sid=ab&jsn=%7B%22a%22:NaN%7D", "jsn: is not JSON"),
        ("oid=2&evt=x&url=u&sid=ab&jsn=" + urlencode({"": '{"a":"' + "x" * 4096 + '"}'})[1:], "jsn: max length"),
        ("oid=2&evt=x&url=u&sid=ab&tit=%83%83", "tit: is not UTF-8"),
        ("oid=2&evt=x&url=u&sid=ab&tit=a%00b", "tit: holds a NUL"),
        ("oid=2&evt=x&url=u&sid=ab&" + "&".join(f"p{i}=1" for i in range(200)), "query: has more than 100"),
        ("oid=2&evt=x&url=u&sid=ab&enc=a;b", "enc: value does not match"),
    ],
)
def test_a_bad_beacon_is_a_400_with_the_gif_and_a_failed_record(arms: Arms, query: str, named: str) -> None:
    response = arms.get("/swallow/bizocean", query)

    assert (response.status_code, response.content) == (400, GIF)
    assert named in response.headers["x-oceanus-error"]
    assert response.headers["access-control-expose-headers"] == "X-Oceanus-Error, Retry-After"
    assert arms.spool.records("bizocean") == []
    [failed] = arms.spool.records("bizocean", "failed")
    assert named in failed["reason"]
    assert (failed["stage"], failed["site"], failed["eid"]) == ("rules", "bizocean", None)
    assert orjson.loads(failed["raw"])["sent"] == query


def test_the_raw_text_of_a_rejected_beacon_is_cut_at_8_kib(arms: Arms) -> None:
    arms.get("/swallow/bizocean", "tit=" + "%C3%A9" * 3000)

    [failed] = arms.spool.records("bizocean", "failed")
    assert len(failed["raw"].encode()) == 8192


def test_unknown_parameters_are_ignored_also_when_repeated(arms: Arms) -> None:
    assert arms.get("/swallow/bizocean", "oid=2&evt=x&url=u&sid=ab&_=1&_=2").status_code == 200


def test_unknown_parameters_are_kept_where_the_site_says_so(make_arms: MakeArms) -> None:
    arms = make_arms(bizpow="{method: swallow, shape: access, unknown: ext}")

    arms.swallow("bizpow", utm="x", n="5", debug="1")

    [record] = arms.spool.records("bizpow")
    assert record["ext"] == '{"n":"5","utm":"x"}'


def test_more_failed_records_than_the_quota_are_counted_by_reason(make_arms: MakeArms) -> None:
    arms = make_arms(limit=2)
    for _ in range(5):
        assert arms.swallow(sid=None).status_code == 400
    arms.now_us += 60_000_000

    assert arms.swallow(evt=None).status_code == 400
    arms.spool.fall_silent()
    with pytest.raises(NotStoredError):
        asyncio.run(arms.collector.store_counted())
    arms.spool.failure = None
    asyncio.run(arms.collector.store_counted())

    kept = arms.spool.records("bizocean", "failed")
    assert [one["reason"].partition(":")[0] for one in kept] == ["sid", "sid", "evt", "counted"]
    assert orjson.loads(kept[3]["raw"]) == {"sid: required field": 3}


def test_nothing_stored_is_a_503_to_send_again(arms: Arms) -> None:
    arms.spool.fall_silent()

    for response in (arms.swallow(), arms.swallow(sid=None), arms.post("/swallow/bizocean", orjson.dumps([GOOD]))):
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0


def test_head_and_options_are_no_beacons(arms: Arms) -> None:
    head = arms.client.simulate_head("/swallow/bizocean", params=GOOD)
    options = arms.client.simulate_options("/pirate/movieform")

    assert (head.status_code, head.headers["content-length"]) == (200, "35")
    assert options.status_code == 204
    assert "POST" in options.headers["access-control-allow-methods"]
    assert options.headers["access-control-allow-headers"] == "Content-Type"
    assert arms.spool.pushes == []


@pytest.mark.parametrize("path", ["/swallow/bizocean", "/hc", "/pirate/movieform"])
def test_a_wrong_method_is_405(arms: Arms, path: str) -> None:
    assert arms.client.simulate_delete(path).status_code == 405


@given(st.binary(max_size=200))
def test_no_query_string_is_ever_a_500(query: bytes) -> None:
    arms = Arms(sample())

    response = arms.get("/swallow/bizocean", "&" + query.decode("latin-1"))

    assert response.status_code in (200, 400)
    assert len(arms.spool.pushes) == 1


# --- debug


def test_debug_shows_the_record_to_internal_addresses_and_stores_it(make_arms: MakeArms) -> None:
    arms = make_arms(proxies=1)

    inside = arms.swallow(debug="1", headers={"X-Forwarded-For": "192.168.1.5"})
    outside = arms.swallow(debug="1", headers={"X-Forwarded-For": "8.8.8.8"})

    assert inside.headers["content-type"].startswith("text/plain")
    assert orjson.loads(inside.text)["record"]["rad"] == "192.168.1.5"
    assert outside.content == GIF
    assert len(arms.spool.records("bizocean")) == 2


def test_debug_explains_a_rejected_beacon(arms: Arms) -> None:
    response = arms.swallow(debug="1", sid=None)

    assert response.status_code == 400
    assert orjson.loads(response.text)["errors"] == {"sid": "required field"}


# --- batches


def test_a_batch_is_answered_in_order(arms: Arms) -> None:
    body = orjson.dumps([GOOD, {"evt": "x"}, GOOD | {"jsn": {"a": [1, 2.50]}}, "no object"])

    response = arms.post("/swallow/bizocean", body)

    results = response.json["results"]
    assert [result["status"] for result in results] == [200, 400, 200, 400]
    assert "sid: required field" in results[1]["error"]
    stored = arms.spool.records("bizocean")
    assert [results[0]["eid"], results[2]["eid"]] == [record["eid"] for record in stored]
    assert len(arms.spool.records("bizocean", "failed")) == 2


def test_a_batch_may_be_lines(arms: Arms) -> None:
    body = orjson.dumps(GOOD) + b"\n\nnot json\n" + orjson.dumps(GOOD)

    response = arms.post("/swallow/bizocean", body)

    assert [result["status"] for result in response.json["results"]] == [200, 400, 200]


def test_jsn_of_a_batch_keeps_every_digit(arms: Arms) -> None:
    body = b'[{"oid":2,"evt":"x","sid":"ab","url":"u","jsn":{"n":123456789012345678901234567890,"f":0.10}}]'

    arms.post("/swallow/bizocean", body)

    assert arms.spool.records("bizocean")[0]["jsn"] == '{"f":0.10,"n":123456789012345678901234567890}'


def test_a_batch_that_cannot_be_read_is_a_400_and_a_failed_record(arms: Arms) -> None:
    response = arms.post("/swallow/bizocean", b'[{"evt": ')

    assert response.status_code == 400
    [failed] = arms.spool.records("bizocean", "failed")
    assert failed["reason"].startswith("body: is not JSON")


def test_too_many_beacons_or_bytes_are_a_413(arms: Arms) -> None:
    assert arms.post("/swallow/bizocean", orjson.dumps([GOOD] * 101)).status_code == 413
    assert arms.post("/swallow/bizocean", b" " * (1024 * 1024 + 1)).status_code == 413
    assert arms.post("/pirate/movieform", b"a" * (64 * 1024 + 1)).status_code == 413
    assert arms.spool.pushes == []


def test_a_script_of_a_listed_page_reads_what_became_of_each_beacon(make_arms: MakeArms) -> None:
    arms, page = make_arms(bizocean=LISTED), {"Origin": "https://www.example.jp"}
    asked = arms.client.simulate_options(
        "/swallow/bizocean",
        headers=page | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"},
    )

    answers = [
        arms.post("/swallow/bizocean", orjson.dumps(GOOD) + b"\n{}", Content_Type=kind, **page)
        for kind in ("text/plain;charset=UTF-8", "application/json")
    ]
    arms.spool.fall_silent()
    failed = arms.post("/swallow/bizocean", orjson.dumps(GOOD), **page)

    readable = {"access-control-allow-origin": "https://www.example.jp", "access-control-allow-credentials": "true"}
    assert asked.status_code == 204
    assert asked.headers["access-control-allow-headers"] == "Content-Type"
    assert int(asked.headers["access-control-max-age"]) == 86400
    for answer in (asked, *answers, failed):
        assert answer.headers.items() >= readable.items()
    assert [[result["status"] for result in answer.json["results"]] for answer in answers] == [[200, 400]] * 2
    assert (failed.status_code, failed.headers["retry-after"]) == (503, "2")
    assert failed.headers["access-control-expose-headers"] == "X-Oceanus-Error, Retry-After"


def test_an_image_may_stand_on_a_page_that_isolates_itself(arms: Arms) -> None:
    assert arms.swallow().headers["cross-origin-resource-policy"] == "cross-origin"
    assert arms.swallow(sid=None).headers["cross-origin-resource-policy"] == "cross-origin"


# --- /gaze


@pytest.fixture
def instantly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain whose steps take no time; how long they take is asserted on its own."""
    monkeypatch.setattr(beacons, "CHAIN", {event: (0.0, after) for event, (_, after) in beacons.CHAIN.items()})


def test_the_steps_of_a_mail_last_2_4_and_4_seconds() -> None:
    assert beacons.CHAIN == {"open": (2.0, "see"), "see": (4.0, "read"), "read": (4.0, "done")}


@pytest.mark.usefixtures("instantly")
def test_an_open_mail_is_followed_to_its_end(arms: Arms) -> None:
    path, query, seen = "/gaze/mailaction", "oid=m1&evt=Open&uid=7", []
    while True:
        response = arms.get(path, query)
        seen.append(response.status_code)
        if response.status_code != 302:
            break
        path, _, query = response.headers["location"].partition("?")

    assert seen == [302, 302, 302, 200]
    assert response.content == GIF
    stored = arms.spool.records("mailaction")
    assert [record["evt"] for record in stored] == ["open", "see", "read", "done"]
    assert {(record["uid"], record["sid"], record["oid"]) for record in stored} == {("7", "", "m1")}


@pytest.mark.usefixtures("instantly")
def test_a_bad_mail_beacon_goes_on_along_the_chain_and_says_so(arms: Arms) -> None:
    response = arms.get("/gaze/mailaction", "evt=open&sid=xyz&tit=%83")

    assert (response.status_code, response.headers["location"]) == (302, "/gaze/mailaction?evt=see&sid=xyz&tit=%83")
    assert "tit: is not UTF-8" in response.headers["x-oceanus-error"]
    assert len(arms.spool.records("mailaction", "failed")) == 1


def test_no_more_connections_are_held_than_allowed(make_arms: MakeArms) -> None:
    arms = make_arms(gaze=0)

    assert arms.get("/gaze/mailaction", "evt=open").content == GIF


# --- /pierce


def test_a_server_gives_its_visitors_address_and_agent(arms: Arms) -> None:
    query = urlencode(
        {"rad": "8.8.8.8", "ua": "Mozilla/5.0 (iPad; CPU OS 9_0)", "evt": "click", "oid": "x", "url": "u"}
    )

    response = arms.get("/pierce/shortener", query)

    assert (response.status_code, response.text) == (200, "ok")
    [record] = arms.spool.records("shortener")
    assert (record["rad"], record["dev"], record["sid"]) == ("8.8.8.8", "tablet", "")


@pytest.mark.parametrize("rad", ["", "8.8.8", "1.2.3.4%25eth0", "x"])
def test_a_server_must_give_a_valid_address(arms: Arms, rad: str) -> None:
    response = arms.get("/pierce/shortener", f"rad={rad}&evt=click&oid=x&url=u")

    assert response.status_code == 400
    assert "rad: " in response.headers["x-oceanus-error"]


def test_a_site_for_tokens_takes_no_server_without_one(make_arms: MakeArms) -> None:
    arms = make_arms(shortener="{method: pierce, shape: link}")
    query = "rad=8.8.8.8&evt=click&oid=x&url=u"

    without = arms.get("/pierce/shortener", query)
    wrong = arms.get("/pierce/shortener", query, Authorization="Bearer nonsense")
    right = arms.get("/pierce/shortener", query, Authorization=f"Bearer {TOKEN}")

    assert [without.status_code, wrong.status_code, right.status_code] == [403, 403, 200]
    assert len(arms.spool.records("shortener")) == 1
    assert [one["reason"].partition(":")[0] for one in arms.spool.records("shortener", "failed")] == ["caller"] * 2


# --- /pirate

FORM = {"sid": "ab", "name": "山田", "email": "a@example.com", "enc": "utf/8", "jsn": '{"message":"hi"}'}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", urlencode(FORM)),
        ("application/json", orjson.dumps(FORM)),
        ("text/plain;charset=UTF-8", orjson.dumps(FORM)),
        ("text/plain;charset=UTF-8", urlencode(FORM)),
    ],
)
def test_a_form_comes_urlencoded_or_as_json_or_by_send_beacon(arms: Arms, kind: str, body: str | bytes) -> None:
    response = arms.post("/pirate/movieform", body, "oid=form1", Content_Type=kind)

    assert (response.status_code, response.text) == (200, "")
    [record] = arms.spool.records("movieform")
    assert {name: record[name] for name in ("name", "email", "enc", "jsn", "oid", "uid")} == {
        "name": "山田",
        "email": "a@example.com",
        "enc": "UTF/8",
        "jsn": '{"message":"hi"}',
        "oid": "form1",
        "uid": "",
    }


def test_a_bad_form_is_a_400_with_an_empty_text(arms: Arms) -> None:
    response = arms.post("/pirate/movieform", b"name=%ff", Content_Type="application/x-www-form-urlencoded")

    assert (response.status_code, response.text) == (400, "")
    assert arms.spool.records("movieform", "failed")[0]["reason"] == "name: is not UTF-8"


def test_a_field_in_form_and_query_is_given_twice(arms: Arms) -> None:
    response = arms.post("/pirate/movieform", b"sid=ab", "sid=cd", Content_Type="application/x-www-form-urlencoded")

    assert response.headers["x-oceanus-error"] == "sid: is given more than once"


# --- who is believed


def test_what_a_client_claims_about_itself_is_ignored(arms: Arms) -> None:
    claims = {"X-Forwarded-For": "6.6.6.6", "X-Oceanus-Address": "6.6.6.6", "X-Oceanus-Time": "2020-01-01T00:00:00Z"}

    assert arms.swallow(headers=claims).status_code == 200

    [record] = arms.spool.records("bizocean")
    assert (record["rad"], record["dt"]) == ("127.0.0.1", records.time_text(arms.now_us))


def test_a_trusted_caller_gives_address_and_time(arms: Arms) -> None:
    given_headers = TRUSTED | {"X-Oceanus-Address": "2001:db8::1", "X-Oceanus-Time": "2026-01-01T09:00:00.5+09:00"}

    assert arms.swallow(headers=given_headers).status_code == 200

    [record] = arms.spool.records("bizocean")
    assert (record["rad"], record["dt"]) == ("2001:db8::1", "2026-01-01 00:00:00.500000")
    assert [push.minute for push in arms.spool.pushes] == ["202601010000"]
    assert records.received_us(record["eid"]) == pytest.approx(arms.now_us, abs=1)


@pytest.mark.parametrize("time", ["yesterday", "2015-05-17T10:05:03Z", "2029-01-01T00:00:00Z", "99999-01-01"])
def test_a_time_that_bigquery_would_refuse_is_a_mistake(arms: Arms, time: str) -> None:
    response = arms.swallow(headers=TRUSTED | {"X-Oceanus-Time": time})

    assert response.status_code == 400
    assert response.headers["x-oceanus-error"].startswith("dt: X-Oceanus-Time")


def test_a_time_before_the_tables_expiry_is_a_mistake(make_arms: MakeArms) -> None:
    arms = make_arms(bizocean="{method: swallow, shape: access, table: {expiry_days: 2}}")
    day_us = 86_400_000_000

    kept, gone = (
        arms.swallow(headers=TRUSTED | {"X-Oceanus-Time": records.time_text(arms.now_us - days * day_us)})
        for days in (1, 3)
    )

    assert [kept.status_code, gone.status_code] == [200, 400]


def test_a_wrong_token_is_a_403_and_another_scheme_is_none(arms: Arms) -> None:
    assert arms.swallow(headers={"Authorization": "Bearer wrong"}).status_code == 403
    assert arms.swallow(headers={"Authorization": "Basic dXNlcjpwYXNz"}).status_code == 200
    assert arms.spool.records("bizocean", "failed")[0]["reason"].startswith("caller: ")


# --- origins

LISTED = "{method: swallow, shape: access, origins: {allow: ['https://www.example.jp'], enforce: true}}"


def test_a_listed_origin_is_echoed_with_credentials(make_arms: MakeArms) -> None:
    response = make_arms(bizocean=LISTED).swallow(headers={"Origin": "https://www.example.jp"})

    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://www.example.jp"
    assert response.headers["access-control-allow-credentials"] == "true"
    assert response.headers["vary"] == "Origin"


@pytest.mark.parametrize("header", ["Origin", "Referer"])
def test_a_page_that_is_not_listed_is_refused(make_arms: MakeArms, header: str) -> None:
    arms = make_arms(bizocean=LISTED)

    response = arms.swallow(headers={header: "https://evil.example"})

    assert (response.status_code, response.content) == (403, GIF)
    assert "access-control-allow-origin" not in response.headers
    assert arms.spool.records("bizocean") == []
    assert arms.spool.records("bizocean", "failed")[0]["reason"].startswith("origin: ")


def test_an_image_of_a_listed_page_is_known_by_its_referer(make_arms: MakeArms) -> None:
    arms = make_arms(bizocean=LISTED)

    assert arms.swallow(headers={"Referer": "https://www.example.jp/shop?x=1"}).status_code == 200


# --- privacy

ANONYMOUS = "{method: swallow, shape: access, privacy: {policy: anonymous, consent: cns}}"
DROP = "{method: swallow, shape: access, privacy: {policy: drop}}"
MASK = "{method: swallow, shape: access, privacy: {mask: [token, email]}}"


@pytest.mark.parametrize(
    ("headers", "consent"), [({"Sec-GPC": "1"}, None), ({"DNT": "1"}, None), ({}, "denied"), ({}, "0")]
)
def test_an_objecting_visitor_is_stored_without_what_tells_who_it_was(
    make_arms: MakeArms, headers: dict[str, str], consent: str | None
) -> None:
    arms = make_arms(bizocean=ANONYMOUS, proxies=1)
    sent = {"uid": "7", "scr": "1920x1080", "vie": "10x10", "cns": consent}

    arms.swallow(headers=headers | {"X-Forwarded-For": "203.0.113.77"}, **sent)

    [record] = arms.spool.records("bizocean")
    assert (record["sid"], record["rad"]) == ("", "203.0.113.0")
    assert record.keys().isdisjoint({"uid", "scr", "vie"})
    assert "203.0.113.77" not in str(arms.spool.pushes)
    assert GOOD["sid"] not in str(arms.spool.pushes)


def test_a_failed_record_of_an_objecting_visitor_tells_no_more(make_arms: MakeArms) -> None:
    arms = make_arms(bizocean=ANONYMOUS)

    arms.swallow(headers={"DNT": "1"}, uid="secret", evt=None, other="secret2")

    [failed] = arms.spool.records("bizocean", "failed")
    assert "127.0.0.0" in failed["raw"]
    assert not any(word in str(arms.spool.pushes) for word in ("secret", "secret2", GOOD["sid"], "127.0.0.1"))


def test_a_visitor_who_consents_is_stored_whole(make_arms: MakeArms) -> None:
    arms = make_arms(bizocean=ANONYMOUS)

    arms.swallow(uid="7", cns="granted")

    assert arms.spool.records("bizocean")[0]["uid"] == "7"


def test_a_dropped_visitor_is_answered_and_nothing_is_stored(make_arms: MakeArms) -> None:
    arms = make_arms(bizocean=DROP)

    good = arms.swallow(headers={"Sec-GPC": "1"})
    bad = arms.swallow(headers={"Sec-GPC": "1"}, sid=None)
    batch = arms.post("/swallow/bizocean", orjson.dumps([GOOD]), Sec_GPC="1")

    assert [good.status_code, bad.status_code, batch.json["results"]] == [200, 200, [{"status": 200}]]
    assert arms.spool.pushes == []


def test_parameters_and_mail_addresses_are_blanked_in_url_and_ref(make_arms: MakeArms) -> None:
    arms = make_arms(bizocean=MASK)

    arms.swallow(
        url="https://a.example/x?Token=abc&b=1#me@example.com", ref="https://b.example/?email=a%40b.com&q=joe@c.org"
    )
    arms.swallow(url="https://a.example/x?token=abc&b=1", sid=None)

    [record] = arms.spool.records("bizocean")
    assert record["url"] == "https://a.example/x?Token=&b=1#"
    assert record["ref"] == "https://b.example/?email=&q="
    assert "abc" not in str(arms.spool.pushes)


# --- what an attacker sends


@pytest.mark.parametrize(
    "body",
    [
        b'[{"sid":"a","\\ud800":"x"}]',
        b'{"sid":"a","\\u0000":"x"}',
        b'{"sid":"a","sid":"b"}',
        b'[{"url":{"a":["\\ud800"]}}]',
        b"[[[]]]",
        b'[{"jsn":1e400}]',
    ],
)
@pytest.mark.parametrize("path", ["/swallow/bizocean", "/pirate/movieform"])
def test_strange_json_is_a_400_and_a_failed_record(make_arms: MakeArms, path: str, body: bytes) -> None:
    arms = make_arms(bizocean=MASK)

    response = arms.post(path, body, Content_Type="application/json")

    assert response.status_code == 400 or {result["status"] for result in response.json["results"]} == {400}
    assert [push.source for push in arms.spool.pushes] == ["failed"]


def test_one_bad_beacon_hides_no_result_of_a_batch(arms: Arms) -> None:
    body = b"[" + orjson.dumps(GOOD) + b',{"\\ud800":"\\u0000"}]'

    response = arms.post("/swallow/bizocean", body)

    assert [result["status"] for result in response.json["results"]] == [200, 400]


def test_lines_end_at_newlines_alone(arms: Arms) -> None:
    body = "\n".join(f'{{"oid":"2","evt":"x","sid":"ab","url":"u","tit":"a{c}b"}}' for c in "\u2028\x85\x1d")

    response = arms.post("/swallow/bizocean", body.encode())

    assert [result["status"] for result in response.json["results"]] == [200, 200, 400]
    assert '"tit":"a\x1db"' in orjson.loads(arms.spool.records("bizocean", "failed")[0]["raw"])["sent"]


def test_a_beacon_of_a_batch_is_no_larger_than_one_alone(make_arms: MakeArms) -> None:
    arms = make_arms(bizpow="{method: swallow, shape: access, unknown: ext}")
    body = orjson.dumps([GOOD, GOOD | {"more": "x" * 70_000}, GOOD | {"more": "x" * 20_000}])

    response = arms.post("/swallow/bizpow", body)

    assert [result["status"] for result in response.json["results"]] == [200, 413, 400]
    assert "ext: max length" in response.json["results"][2]["error"]


@pytest.mark.parametrize("referer", ["http://[::1", "https://www.example.jp:x/", "nonsense"])
def test_a_strange_referer_is_an_origin_that_is_not_listed(make_arms: MakeArms, referer: str) -> None:
    assert make_arms(bizocean=LISTED).swallow(headers={"Referer": referer}).status_code == 403


def test_a_default_port_is_no_other_origin(make_arms: MakeArms) -> None:
    arms = make_arms(bizocean=LISTED)

    assert arms.swallow(headers={"Referer": "https://www.example.jp:443/x"}).status_code == 200


def test_no_to_consent_is_heard_in_a_beacon_that_cannot_be_read(make_arms: MakeArms) -> None:
    dropping = make_arms(bizocean="{method: swallow, shape: access, privacy: {policy: drop, consent: cns}}")
    cutting = make_arms(bizocean=ANONYMOUS)

    for arms in (dropping, cutting):
        arms.get("/swallow/bizocean", "cns=denied&uid=alice&tit=%ff")
        arms.get("/swallow/bizocean", "cns=Denied&cns=granted&uid=alice&sid=ab&oid=2&evt=x&url=u")

    assert dropping.spool.pushes == []
    assert "alice" not in str(cutting.spool.pushes)
    assert "127.0.0.1" not in str(cutting.spool.pushes)


def test_reasons_repeat_no_value_and_no_unknown_name(make_arms: MakeArms) -> None:
    arms = make_arms(bizocean=ANONYMOUS)

    response = arms.get("/swallow/bizocean", "alice%40corp.example=%ff&%01=1", DNT="1")

    assert response.headers["x-oceanus-error"] == "query: is not UTF-8"
    assert "alice" not in str(arms.spool.pushes)


def test_a_dropped_visitor_with_a_wrong_token_is_still_a_403(make_arms: MakeArms) -> None:
    arms = make_arms(bizocean=DROP)

    assert arms.swallow(headers={"DNT": "1", "Authorization": "Bearer wrong"}).status_code == 403
    assert arms.spool.pushes == []
