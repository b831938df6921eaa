from collections.abc import Callable

import pytest

from oceanus.errors import SpoolUnclearError

from .conftest import Arms


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
