"""arms as it runs: real gunicorn, real Redis, real sockets."""

import select
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import httpx
import orjson
import psutil
import pytest

from management import parts
from oceanus import sites
from tests.arms.conftest import GOOD
from tests.arms.serving import Serve
from tests.conftest import RedisProcess, end, until

SILENT_SECONDS = 60


def test_an_answered_beacon_survives_a_power_cut_of_redis(serve: Serve, own_redis: RedisProcess) -> None:
    server = serve(own_redis)
    for number in range(20):
        assert server.swallow(uid=str(number)).status_code == 200

    own_redis.kill()
    own_redis.start()

    stored = own_redis.client().lrange("oceanus:{bizocean}:queue", 0, -1)
    assert [orjson.loads(text)["uid"] for text in reversed(stored)] == [str(number) for number in range(20)]


def test_redis_away_is_a_503_until_it_is_back(serve: Serve, own_redis: RedisProcess) -> None:
    server = serve(own_redis, REDIS_PUSH_SECONDS="0.3")
    assert server.swallow().status_code == 200
    own_redis.kill()

    away = server.swallow()
    assert (away.status_code, server.get("/lb").status_code, server.get("/hc").status_code) == (503, 503, 200)
    assert away.headers["retry-after"]

    own_redis.start()
    until(lambda: server.swallow().status_code == 200)
    assert server.get("/lb").status_code == 200


def uids(redis: RedisProcess) -> list[str]:
    """Return the uid of each record in the queue."""
    return sorted(orjson.loads(text)["uid"] for text in redis.client().lrange("oceanus:{bizocean}:queue", 0, -1))


def test_with_a_journal_redis_away_is_no_visitors_business(
    serve: Serve, own_redis: RedisProcess, tmp_path: Path
) -> None:
    (tmp_path / "journal").mkdir()
    server = serve(own_redis, JOURNAL_DIR=str(tmp_path / "journal"))
    assert server.swallow(uid="00").status_code == 200
    own_redis.kill()

    away = [server.swallow(uid=f"{number:02}").status_code for number in range(1, 30)]
    assert (set(away), server.get("/lb").status_code) == ({200}, 200)
    assert "oceanus_arms_journalled 29.0" in server.get("/metrics").text

    own_redis.start()
    until(lambda: "oceanus_arms_journalled 0.0" in server.get("/metrics").text)
    assert server.swallow(uid="30").status_code == 200
    assert uids(own_redis) == [f"{number:02}" for number in range(31)]


def test_what_a_killed_arms_had_in_its_journal_is_pushed_by_the_next(
    serve: Serve, own_redis: RedisProcess, tmp_path: Path
) -> None:
    (tmp_path / "journal").mkdir()
    server = serve(own_redis, JOURNAL_DIR=str(tmp_path / "journal"))
    own_redis.kill()
    assert [server.swallow(uid=str(number)).status_code for number in range(5)] == [200] * 5
    for worker in psutil.Process(server.process.pid).children():
        worker.kill()
    server.process.kill()
    own_redis.start()

    serve(own_redis, JOURNAL_DIR=str(tmp_path / "journal"))

    until(lambda: uids(own_redis) == [str(number) for number in range(5)])


def test_an_orphaned_journal_is_pushed_by_command(serve: Serve, own_redis: RedisProcess, tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    server = serve(own_redis, JOURNAL_DIR=str(tmp_path / "journal"))
    own_redis.kill()
    assert [server.swallow(uid=str(number)).status_code for number in range(5)] == [200] * 5
    words = [sys.executable, "-m", "arms", "--push-journal", str(tmp_path / "journal")]
    environ = own_redis.environ | {"SITES_FILE": str(sites.SAMPLE)}
    assert end(server.process) == 0

    without = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=60, check=False)
    own_redis.start()
    with_redis = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=60, check=False)

    assert (without.returncode, with_redis.returncode) == (1, 0)
    assert uids(own_redis) == [str(number) for number in range(5)]
    assert list((tmp_path / "journal").iterdir()) == []


def test_before_its_stop_arms_is_waited_for_until_its_journal_is_empty(
    serve: Serve, own_redis: RedisProcess, tmp_path: Path
) -> None:
    (tmp_path / "journal").mkdir()
    server = serve(own_redis, JOURNAL_DIR=str(tmp_path / "journal"))
    own_redis.kill()
    assert [server.swallow(uid=str(number)).status_code for number in range(5)] == [200] * 5
    words = [sys.executable, "-m", "arms", "--before-stop", "0"]
    environ = own_redis.environ | {"SITES_FILE": str(sites.SAMPLE), "PORT": str(server.port)}

    without = subprocess.run([*words, "0.5"], env=environ, capture_output=True, text=True, timeout=60, check=False)
    own_redis.start()
    with_redis = subprocess.run([*words, "60"], env=environ, capture_output=True, text=True, timeout=120, check=False)

    assert (without.returncode, without.stderr) == (
        1,
        "5 records are left in the journal, for the next arms on its volume\n",
    )
    assert (with_redis.returncode, with_redis.stderr) == (0, "")
    assert uids(own_redis) == [str(number) for number in range(5)]


def test_before_its_stop_arms_is_waited_for_whatever_is_wrong_with_its_settings_by_now(
    serve: Serve, redis_server: RedisProcess, tmp_path: Path
) -> None:
    """A hook that ends at once would let it be stopped while the balancer still sends visitors there."""
    server = serve(redis_server)
    environ = {"SITES_FILE": str(tmp_path / "gone.yaml"), "JOURNAL_DIR": "/nowhere", "PORT": str(server.port)}
    words = [sys.executable, "-m", "arms", "--before-stop", "0", "60"]

    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_site_lives_in_its_own_redis_and_the_others_never_hear_of_its_troubles(
    serve: Serve, redis_server: RedisProcess, own_redis: RedisProcess, tmp_path: Path
) -> None:
    (tmp_path / "journal").mkdir()
    address = f"127.0.0.1:{own_redis.port}"
    moved = {"JOURNAL_DIR": str(tmp_path / "journal"), "REDIS_SHARDS": f"bizocean={address}"}
    server = serve(redis_server, **moved)
    assert server.swallow(uid="0").status_code == 200
    own_redis.kill()

    assert [server.swallow(uid=str(number)).status_code for number in range(1, 4)] == [200] * 3
    assert (server.get("/gaze/mailaction?evt=read").status_code, server.get("/lb").status_code) == (302, 200)
    metrics = server.get("/metrics").text
    assert "oceanus_arms_journalled 3.0" in metrics
    assert f'oceanus_arms_shard_journalled{{redis="{address}"}} 3.0' in metrics
    assert redis_server.client().llen("oceanus:{mailaction}:queue") == 1

    own_redis.start()
    until(lambda: uids(own_redis) == ["0", "1", "2", "3"])
    assert uids(redis_server) == []


def test_a_journal_folder_belongs_to_one_redis_and_is_pushed_there(
    serve: Serve, redis_server: RedisProcess, own_redis: RedisProcess, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    journal.mkdir()
    address = f"127.0.0.1:{own_redis.port}"
    moved = {"JOURNAL_DIR": str(journal), "REDIS_SHARDS": f"bizocean={address}"}
    server = serve(redis_server, **moved)
    own_redis.kill()
    assert [server.swallow(uid=str(number)).status_code for number in range(3)] == [200] * 3
    assert end(server.process) == 0
    own_redis.start()

    def push(**placed: str) -> "subprocess.CompletedProcess[str]":
        words = [sys.executable, "-m", "arms", "--push-journal", str(journal)]
        environ = redis_server.environ | {"SITES_FILE": str(sites.SAMPLE)} | placed
        return subprocess.run(words, env=environ, capture_output=True, text=True, timeout=60, check=False)

    strange = serve(redis_server, JOURNAL_DIR=str(journal))
    unnamed = push()
    named = push(REDIS_SHARDS=address)

    assert unnamed.returncode == 1
    assert f"{journal / address}: REDIS_SHARDS names no Redis {address}" in unnamed.stderr
    assert (named.returncode, f"3 records pushed from {journal / address}, 0 left" in named.stdout) == (0, True)
    assert uids(own_redis) == ["0", "1", "2"]
    assert f"{journal / address}: its beacons wait" in strange.log.read_text(encoding="utf-8")


def test_arms_is_ready_while_one_redis_takes_beacons(
    serve: Serve, redis_server: RedisProcess, own_redis: RedisProcess
) -> None:
    """Without a journal: a balancer that took it out would refuse the sites of the other one, too."""
    server = serve(redis_server, REDIS_SHARDS=f"bizocean=127.0.0.1:{own_redis.port}", REDIS_PUSH_SECONDS="0.3")
    own_redis.kill()

    assert (server.swallow().status_code, server.get("/lb").status_code) == (503, 200)
    assert server.get("/gaze/mailaction?evt=read").status_code == 302


def test_a_full_redis_fills_the_journal_and_loses_nothing(
    serve: Serve, own_redis: RedisProcess, tmp_path: Path
) -> None:
    (tmp_path / "journal").mkdir()
    server = serve(own_redis, JOURNAL_DIR=str(tmp_path / "journal"))
    own_redis.client().config_set("maxmemory", "1mb")
    assert [server.swallow(uid=f"{number:02}").status_code for number in range(20)] == [200] * 20

    own_redis.client().config_set("maxmemory", "100mb")

    until(lambda: uids(own_redis) == [f"{number:02}" for number in range(20)])


def test_a_redis_that_would_lose_what_it_answers_is_not_used(serve: Serve, own_redis: RedisProcess) -> None:
    own_redis.client().config_set("appendfsync", "everysec")
    server = serve(own_redis)

    assert server.swallow().status_code == 503
    assert "appendfsync is everysec, must be always" in server.get("/lb").text
    assert own_redis.client().exists("oceanus:{bizocean}:queue") == 0


def test_a_silent_connection_does_not_hold_the_stop(serve: Serve, redis_server: RedisProcess) -> None:
    server = serve(redis_server, GRACE_SECONDS=str(SILENT_SECONDS))
    with (
        socket.create_connection(("127.0.0.1", server.port)),
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as kept,
    ):
        assert kept.get("/hc").status_code == 200  # a connection kept alive after its answer

        server.process.send_signal(signal.SIGTERM)

        assert server.process.wait(SILENT_SECONDS / 2) == 0


@pytest.mark.parametrize(
    ("workers", "moment"),
    [
        ("1", "Booting worker"),  # forked, and deaf as yet
        ("2", "Booting worker"),
        ("2", "ASGI server listening"),  # while another one is not so far
    ],
)
def test_a_stop_in_the_very_first_moment_is_heard(redis_server: RedisProcess, workers: str, moment: str) -> None:
    environ = {"PORT": str(parts.free_port()), "SITES_FILE": str(sites.SAMPLE), "GRACE_SECONDS": str(SILENT_SECONDS)}
    environ |= {"WORKERS": workers}
    words = [sys.executable, "-m", "arms"]
    with subprocess.Popen(
        words, env=redis_server.environ | environ | {"LOG_LEVEL": "INFO"}, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        next(line for line in process.stderr if moment in line)

        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SILENT_SECONDS / 2)

        assert process.returncode == 0


def test_a_mail_that_is_being_followed_is_answered_before_the_stop(serve: Serve, redis_server: RedisProcess) -> None:
    server = serve(redis_server)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(b"GET /gaze/mailaction?evt=open HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: redis_server.client().llen("oceanus:{mailaction}:queue") == 1)

        server.process.send_signal(signal.SIGTERM)

        assert connection.makefile("rb").readline().startswith(b"HTTP/1.1 302")
    assert server.process.wait(30) == 0


def test_long_legal_beacons_are_taken_and_endless_ones_are_not(serve: Serve, redis_server: RedisProcess) -> None:
    server = serve(redis_server)
    long = urlencode(GOOD | dict.fromkeys(("url", "ref", "tit"), "あ" * 1024))

    assert server.get(f"/swallow/bizocean?{long}").status_code == 200
    assert server.raw(b"GET /swallow?x=" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n").split()[1] == b"414"
    assert server.raw(b"GET /hc HTTP/1.1\r\nHost: a\r\nUser-Agent: a\x01b\r\n\r\n").split()[1] == b"400"
    assert server.raw(b"POST /swallow HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n").split()[1] == b"400"
    flood = b"".join(b"x-%d: 1\r\n" % i for i in range(200))
    assert server.raw(b"GET /hc HTTP/1.1\r\nHost: a\r\n" + flood + b"\r\n").split()[1] == b"431"


@pytest.mark.parametrize(
    ("begun", "status"),
    [
        (b"POST /swallow/bizocean HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n" + b" " * 1_100_000, b"413"),
        (b"GET /swallow?x=" + b"a" * 70_000 + b" HTTP/1.1\r\n", b"414"),
        (b"GET /swallow?x=" + b"a" * 140_000, b"431"),
    ],
)
def test_a_refusal_reaches_a_client_that_is_still_sending(
    serve: Serve, redis_server: RedisProcess, begun: bytes, status: bytes
) -> None:
    server = serve(redis_server)

    with server.connect(begun) as connection:
        assert select.select([connection], [], [], 20)[0]  # the answer is there
        for _ in range(20):
            connection.sendall(b"a" * 100_000)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()

    assert answer.split()[1] == status


@pytest.mark.parametrize(
    "line",
    [
        b"/swallow/bizocean?tit=\xff\xfe",
        b"/swallow/\xff",
        b"/swallow/%ff%00",
        b"/\xe3\x81",
        b"/swallow/bizocean?%",
    ],
)
def test_strange_bytes_are_never_a_500(serve: Serve, redis_server: RedisProcess, line: bytes) -> None:
    server = serve(redis_server)

    status = int(server.raw(b"GET " + line + b" HTTP/1.1\r\nHost: a\r\nUser-Agent: \xff\r\n\r\n").split()[1])

    assert 400 <= status < 500
    assert server.get("/hc").status_code == 200


def test_many_probes_take_no_beacon_its_way_to_redis(serve: Serve, redis_server: RedisProcess) -> None:
    server = serve(redis_server)

    def probe(path: str) -> list[int]:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client:
            return [client.get(path).status_code for _ in range(40)]

    with ThreadPoolExecutor(24) as pool:
        probes = [pool.submit(probe, path) for path in ("/lb", "/rstatus") for _ in range(10)]
        beacons = [pool.submit(probe, f"/swallow/bizocean?{urlencode(GOOD)}") for _ in range(4)]

    assert {status for one in probes + beacons for status in one.result()} == {200}


def test_several_workers_answer_metrics_as_one(serve: Serve, redis_server: RedisProcess) -> None:
    server = serve(redis_server, WORKERS="2")
    for _ in range(40):
        assert server.swallow().status_code == 200

    counted = [line for line in server.get("/metrics").text.splitlines() if 'result="accepted",site="bizocean"' in line]

    assert counted == ['oceanus_arms_beacons_total{result="accepted",site="bizocean"} 40.0']


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"PORT": "web"}, "arms: PORT='web'"),
        ({"SITES_FILE": "nowhere.yaml"}, "arms: nowhere.yaml: cannot be read"),
        ({"REDIS_SHARDS": "nowhere=redis-2:6379"}, "arms: REDIS_SHARDS: sites.yaml declares no site nowhere"),
        ({"TRUSTED_PROXIES": "-1", "WORKERS": "0"}, "arms: WORKERS='0'"),
        ({"LISTEN_FD": "1"}, "arms: LISTEN_FD=1: is no listening socket: `oceanus up` sets it, nobody else"),
        ({"LISTEN_FD": "99"}, "arms: LISTEN_FD=99: is no listening socket"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_a_line_that_names_it(environ: dict[str, str], told: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "arms"],
        env={"SITES_FILE": str(sites.SAMPLE)} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert run.returncode == 1
    assert told in run.stderr
    assert "Traceback" not in run.stderr
    assert len(run.stderr.splitlines()) == len(environ)
