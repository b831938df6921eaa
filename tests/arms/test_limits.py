import asyncio
import logging
from collections.abc import Callable

import orjson
import pytest

from arms.rates import Rates
from oceanus.errors import SpoolUnclearError
from tests.arms.conftest import GOOD, TOKEN, Arms

MakeArms = Callable[..., Arms]
CAPPED = "{method: swallow, shape: access, daily_cap: 3}"


def learn(arms: Arms, **counted: int) -> None:
    """Let arms look at what Redis has counted."""
    arms.spool.counted = counted
    asyncio.run(arms.collector.learn_counts(arms.spool.accepted))


def test_an_address_beyond_its_rate_is_told_to_wait_and_nothing_of_it_is_stored(make_arms: MakeArms) -> None:
    arms = make_arms(rates=Rates(0.5, 2))
    answers = [arms.swallow() for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "2"
    assert answers[2].headers["access-control-allow-origin"] == "*"
    assert answers[2].headers["x-oceanus-error"] == "address: sends too many beacons"
    assert "no-store" in answers[2].headers["cache-control"]
    assert len(arms.spool.records("bizocean")) == 2
    assert arms.spool.records("bizocean", "failed") == []

    arms.seconds += 2
    assert arms.swallow().status_code == 200


def test_another_address_has_a_bucket_of_its_own(make_arms: MakeArms) -> None:
    arms = make_arms(proxies=1, rates=Rates(0.5, 1))

    sent = [arms.swallow(headers={"X-Forwarded-For": address}).status_code for address in ("192.0.2.1", "192.0.2.2")]
    again = arms.swallow(headers={"X-Forwarded-For": "10.0.0.1, 192.0.2.1"}).status_code

    assert (sent, again) == ([200, 200], 429)


def test_a_trusted_caller_speaks_for_many_and_has_no_rate(make_arms: MakeArms) -> None:
    arms = make_arms(rates=Rates(0.5, 1))
    told = {"Authorization": f"Bearer {TOKEN}"}

    assert {arms.swallow(headers=told).status_code for _ in range(5)} == {200}


def test_each_beacon_of_a_batch_is_one(make_arms: MakeArms) -> None:
    arms = make_arms(rates=Rates(0.5, 2))
    body = orjson.dumps([GOOD] * 3)

    some, none = arms.post("/swallow/bizocean", body), arms.post("/swallow/bizocean", body)

    assert [result["status"] for result in some.json["results"]] == [200, 200, 429]
    assert some.json["results"][2]["error"] == "address: sends too many beacons"
    assert (some.status_code, none.status_code, none.headers["retry-after"]) == (200, 429, "2")
    assert len(arms.spool.records("bizocean")) == 2


@pytest.mark.parametrize("path", ["/gaze/mailaction", "/pierce/shortener", "/pirate/docreq"])
def test_every_route_has_the_limit(make_arms: MakeArms, path: str) -> None:
    arms = make_arms(rates=Rates(0.5, 1))
    arms.swallow()

    answer = arms.post(path, "sid=ab") if "pirate" in path else arms.get(path, "evt=done")

    assert answer.status_code == 429


def test_a_site_with_a_cap_takes_no_more_and_says_so_once(
    make_arms: MakeArms, caplog: pytest.LogCaptureFixture
) -> None:
    arms = make_arms(bizocean=CAPPED)
    with caplog.at_level(logging.WARNING, "arms"):
        statuses = [arms.swallow().status_code for _ in range(6)]

    refused = arms.swallow()
    assert statuses == [200, 200, 200, 429, 429, 429]
    assert [line.getMessage() for line in caplog.records if "daily_cap" in line.getMessage()] == [
        "bizocean has its beacons for today (daily_cap): others are answered 429 until midnight"
    ]
    assert refused.headers["x-oceanus-error"] == "site: has its beacons for today (daily_cap)"
    assert int(refused.headers["retry-after"]) == 86_400 - arms.now_us // 1_000_000 % 86_400
    assert arms.swallow("bizpow").status_code == 200
    assert len(arms.spool.records("bizocean")) == 3

    arms.now_us += 86_400_000_000
    assert arms.swallow().status_code == 200


def test_what_other_processes_have_accepted_counts(make_arms: MakeArms) -> None:
    arms = make_arms(bizocean=CAPPED)
    assert arms.swallow().status_code == 200

    learn(arms, bizocean=2)
    assert arms.swallow().status_code == 200
    learn(arms, bizocean=3)

    assert arms.swallow().status_code == 429


def test_while_redis_is_away_what_is_known_and_what_comes_here_counts(make_arms: MakeArms) -> None:
    arms = make_arms(bizocean=CAPPED)
    learn(arms, bizocean=2)
    arms.spool.failure = SpoolUnclearError("Redis gave no answer")
    with pytest.raises(SpoolUnclearError):
        learn(arms, bizocean=0)
    assert arms.swallow().status_code == 503
    arms.spool.failure = None  # as with a journal, which takes it

    assert [arms.swallow().status_code for _ in range(2)] == [200, 429]


def test_rejected_beacons_fill_no_cap(make_arms: MakeArms) -> None:
    arms = make_arms(bizocean=CAPPED)

    assert {arms.swallow(sid=None).status_code for _ in range(9)} == {400}
    assert arms.swallow().status_code == 200


def test_without_a_limit_nothing_is_asked(arms: Arms) -> None:
    assert {arms.swallow().status_code for _ in range(300)} == {200}
    learn(arms)
