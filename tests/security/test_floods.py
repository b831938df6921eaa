"""What many beacons, or few large ones, cannot do."""

import socket
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from arms.bodies import BATCH_BEACONS, TooManyError, batch
from arms.wsgi import CAP_SECONDS
from management import parts
from oceanus import sites
from oceanus.worker import serve_health
from tests.arms.conftest import Arms, sample
from tests.arms.serving import GOOD, Serve
from tests.conftest import RedisProcess, until


@pytest.mark.parametrize("body", [b"x\n" * 524_288, b"{}\n" * 101, b"[" + b"{}," * 100 + b"{}]"])
def test_a_batch_is_counted_before_it_is_read(arms: Arms, body: bytes) -> None:
    with pytest.raises(TooManyError):
        batch(body)

    assert arms.post("/swallow/bizocean", body).status_code == 413
    assert arms.spool.pushes == []


def test_a_whole_batch_is_taken_whatever_blank_lines_are_between(arms: Arms) -> None:
    body = b"\n\n".join([orjson.dumps(GOOD)] * BATCH_BEACONS)

    assert len(arms.post("/swallow/bizocean", body).json["results"]) == BATCH_BEACONS


def test_keys_that_collide_for_one_process_do_not_for_the_next() -> None:
    program = "print(hash('a') ^ hash('b'))"

    words = [sys.executable, "-c", program]
    told = {subprocess.run(words, env={}, capture_output=True, check=True).stdout for _ in range(3)}

    assert len(told) > 1


def test_an_address_is_limited_by_settings_and_counted(serve: Serve, redis_server: RedisProcess) -> None:
    server = serve(redis_server, RATE_PER_ADDRESS="0.01", RATE_BURST="3", TRUST_TOKEN="a-token")

    statuses = [server.swallow().status_code for _ in range(5)]
    trusted = server.get("/swallow/bizocean", params=GOOD, headers={"Authorization": "Bearer a-token"})

    assert (statuses, trusted.status_code) == ([200, 200, 200, 429, 429], 200)
    assert 'oceanus_arms_limited_beacons_total{limit="address",site="bizocean"} 2.0' in server.get("/metrics").text


def test_several_arms_share_a_cap(serve: Serve, own_redis: RedisProcess, tmp_path: Path) -> None:
    (tmp_path / "sites.yaml").write_text(sample(bizocean="{method: swallow, shape: access, daily_cap: 20}"))
    (tmp_path / "journal").mkdir()
    environ = {"SITES_FILE": str(tmp_path / "sites.yaml"), "JOURNAL_DIR": str(tmp_path / "journal")}
    one, other = serve(own_redis, **environ), serve(own_redis, **environ)
    assert {one.swallow().status_code for _ in range(20)} == {200}
    assert one.swallow().status_code == 429

    until(lambda: other.swallow(sid="none").status_code == 429, 10 * CAP_SECONDS)
    late = serve(own_redis, **environ)
    assert (other.swallow().status_code, late.swallow().status_code) == (429, 429)
    assert own_redis.client().llen("oceanus:{bizocean}:queue") == 20

    own_redis.kill()
    assert {server.swallow().status_code for server in (one, other, late)} == {429}


def test_a_silent_neighbour_holds_no_thread_of_the_health_answer() -> None:
    port = parts.free_port()
    server = serve_health(port, (), lambda: True)
    assert server.RequestHandlerClass.timeout == 10  # type: ignore[attr-defined]
    server.RequestHandlerClass.timeout = 0.3  # type: ignore[attr-defined]

    with socket.create_connection(("127.0.0.1", port), timeout=20) as silent:
        assert silent.recv(1) == b""

    server.shutdown()
    server.server_close()


def test_sites_of_the_sample_have_no_cap() -> None:
    assert {site.daily_cap for site in sites.load(str(sites.SAMPLE)).values()} == {None}
