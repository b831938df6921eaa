from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY

from oceanus.errors import SpoolUnclearError
from tests.arms.serving import Serve
from tests.conftest import RedisProcess

from .conftest import Arms

BIZOCEAN = {"site": "bizocean"}


def test_liveness_does_not_depend_on_redis_and_the_balancer_does(arms: Arms) -> None:
    assert [arms.get(path).status_code for path in ("/hc", "/lb")] == [200, 200]
    arms.spool.failure = SpoolUnclearError("away")

    assert [arms.get(path).status_code for path in ("/hc", "/lb")] == [200, 503]


def test_why_it_is_not_ready_is_for_internal_addresses_only(make_arms: Callable[..., Arms]) -> None:
    arms = make_arms(proxies=1)
    arms.spool.failure = SpoolUnclearError("10.0.0.7:6379 is away")

    for path in ("/lb", "/rstatus"):
        inside, outside = arms.get(path), arms.get(path, X_Forwarded_For="8.8.8.8")
        assert (inside.status_code, outside.status_code) == (503, 503)
        assert "10.0.0.7" in inside.text
        assert "10.0.0.7" not in outside.text


def test_the_backlog_is_ok_up_to_some_batches_and_then_lists_the_queues(arms: Arms) -> None:
    limit = 2 * sum(site.batch.rows for site in arms.collector.sites.values())
    arms.spool.backlog = {"bizocean": limit}
    assert (arms.get("/rstatus").status_code, arms.get("/rstatus").text) == (200, "ok\n")
    assert f"bizocean: {limit}" in arms.get("/rstatus", "debug=1").text

    arms.spool.backlog = {"bizocean": limit, "skj": 1}
    response = arms.get("/rstatus")

    assert response.status_code == 503
    assert f"total: {limit + 1}\n" in response.text


def test_metrics_count_beacons_for_internal_addresses_only(make_arms: Callable[..., Arms]) -> None:
    arms = make_arms(proxies=1)
    arms.swallow()

    inside, outside = arms.get("/metrics"), arms.get("/metrics", X_Forwarded_For="8.8.8.8")

    assert 'oceanus_arms_beacons_total{result="accepted",site="bizocean"}' in inside.text
    assert outside.status_code == 403


@pytest.mark.parametrize("path", ["/robots.txt", "/favicon.ico"])
def test_what_browsers_and_robots_ask_for_is_there(arms: Arms, path: str) -> None:
    assert arms.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/hc", "/lb", "/rstatus", "/metrics", "/robots.txt", "/favicon.ico"])
def test_a_head_is_answered_as_a_get_without_the_body(arms: Arms, path: str) -> None:
    head = arms.client.simulate_head(path)

    assert (head.status_code, head.text) == (200, "")


def test_a_scrape_asks_redis_nothing(serve: Serve, redis_server: RedisProcess) -> None:
    """However many sites there are: all that is shown is in memory."""
    server = serve(redis_server)
    asked = redis_server.client()
    server.swallow()

    before = asked.info("commandstats")
    told = server.get("/metrics").text
    after = asked.info("commandstats")

    assert 'oceanus_arms_beacons_total{result="accepted",site="bizocean"} 1.0' in told
    assert {name for name in after if after[name] != before.get(name)} <= {"cmdstat_info"}


@pytest.mark.parametrize(
    ("headers", "changes", "reason"),
    [
        ({}, {"sid": None}, "rules"),
        ({}, {"jsn": "{"}, "rules"),
        ({"Authorization": "Bearer wrong"}, {}, "caller"),
    ],
)
def test_rejected_beacons_are_counted_by_reason(
    arms: Arms, headers: dict[str, str], changes: dict[str, str | None], reason: str
) -> None:
    before = rejected(reason)

    assert arms.swallow(headers=headers, **changes).status_code in (400, 403)

    assert rejected(reason) == before + 1


def test_a_query_that_cannot_be_read_and_a_foreign_page_are_reasons_of_their_own(
    make_arms: Callable[..., Arms],
) -> None:
    arms = make_arms(
        bizocean="{method: swallow, shape: web, origins: {allow: ['https://shop.example'], enforce: true}}"
    )
    before = rejected("unreadable"), rejected("origin")

    assert arms.get("/swallow/bizocean", "oid=2&evt=%ff").status_code == 400
    assert arms.swallow(headers={"Origin": "https://else.example"}).status_code == 403

    assert (rejected("unreadable"), rejected("origin")) == (before[0] + 1, before[1] + 1)


def test_the_last_beacon_of_a_site_is_told(arms: Arms) -> None:
    arms.swallow()

    assert REGISTRY.get_sample_value("oceanus_arms_last_beacon_timestamp_seconds", BIZOCEAN) == arms.now_us / 1e6


def test_after_a_start_the_last_beacon_is_what_redis_has_noted(serve: Serve, redis_server: RedisProcess) -> None:
    redis_server.client().hset("oceanus:{bizocean}:ledger", "last", 1_795_000_000_250)
    redis_server.client().set("oceanus:{skj}:ledger", "somebody else's")

    told = serve(redis_server).get("/metrics").text

    lines = [line for line in told.splitlines() if line.startswith("oceanus_arms_last_beacon_timestamp_seconds")]
    assert lines == ['oceanus_arms_last_beacon_timestamp_seconds{site="bizocean"} 1.79500000025e+09']


def rejected(reason: str) -> float:
    """Return how many beacons of bizocean were rejected for a reason, in this process."""
    return REGISTRY.get_sample_value("oceanus_arms_rejected_beacons_total", BIZOCEAN | {"reason": reason}) or 0.0
