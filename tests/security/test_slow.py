"""Whoever sends slowly, endlessly or nothing: each has its time and its room, and beacons go on."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import orjson

from tests.arms.serving import Serve, Server
from tests.conftest import RedisProcess, until

HURRIED = {"ends": 1.0, "rests": 3.0, "reads": 1.0, "answers": 30.0}
FORM = b"POST /pirate/docreq HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
MEGABYTE = 1_000_000
# What is sent at once, and again and again after it.
SLOW = {
    "silent": (b"", b""),
    "line": (b"GET /swallow/bizocean?sid=", b"a"),
    "headers": (b"GET /hc HTTP/1.1\r\nHost: a\r\n", b"X-a: b\r\n"),
    "body": (FORM + b"Content-Length: 1000\r\n\r\nsid=ab&name=", b"a"),
    "chunks": (FORM + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    "refused": (b"GET /hc?" + b"a" * 200_000, b"a"),
    "second request": (b"GET /hc HTTP/1.1\r\nHost: a\r\n\r\nGET /hc HTTP/1.1\r\nHost: a", b""),
}
ENDLESS = {
    "unread": b"GET /gaze/mailaction?evt=open HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n",
    "announced": b"POST /swallow/bizocean HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n",
    "chunked": b"POST /swallow/bizocean HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3b9aca00\r\n",
    "refused": b"GET /hc?" + b"a" * 200_000,
    "behind": b"GET /hc HTTP/1.1\r\nHost: a\r\n\r\n",
}
TWO_WAYS = (
    b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    b"Content-Length: 4\r\nContent-Length: 5\r\n",
    b"Transfer-Encoding: chunked, identity\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Content-Length: +4\r\n",
    b"Content-Length: 0x4\r\n",
    b"Host: b\r\n",
)


def is_closed(connection: socket.socket) -> bool:
    """Wait for the other end to close; say whether it did."""
    connection.settimeout(20)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def test_a_request_that_does_not_end_is_closed_in_its_time(serve: Serve, redis_server: RedisProcess) -> None:
    server = serve(redis_server, HURRIED)

    with ThreadPoolExecutor(len(SLOW)) as pool:
        closed = dict(zip(SLOW, pool.map(lambda one: drips(server, *one), SLOW.values()), strict=True))

    assert closed == dict.fromkeys(SLOW, True)
    assert server.swallow().status_code == 200
    assert redis_server.client().keys("oceanus:{docreq}:*") == []


def drips(server: Server, sent: bytes, drip: bytes) -> bool:
    """Send bytes, and a few more again and again, for four times as long as it may take; say whether it was closed."""
    with server.connect(sent) as slow:
        begun = time.monotonic()
        try:
            while drip and time.monotonic() - begun < 4 * HURRIED["reads"]:
                slow.sendall(drip)
                time.sleep(0.2)  # a slow client
        except OSError:
            return True
        return is_closed(slow)


def test_a_connection_that_rests_is_kept_for_its_next_request_and_closed_in_its_time(
    serve: Serve, redis_server: RedisProcess
) -> None:
    server = serve(redis_server, HURRIED)
    request = b"GET /hc HTTP/1.1\r\nHost: a\r\n\r\n"
    with server.connect(request) as kept:
        assert b"200 OK" in kept.recv(4096)
        time.sleep(1.5 * HURRIED["reads"])  # longer than a request may take
        kept.sendall(request)
        assert b"200 OK" in kept.recv(4096)

        assert is_closed(kept)
    assert 'oceanus_arms_closed_connections_total{reason="time"} 1.0' in server.get("/metrics").text


def test_many_idle_connections_take_no_beacon_its_place(serve: Serve, redis_server: RedisProcess) -> None:
    server = serve(redis_server, MAX_CONNECTIONS="50")
    silent = [server.connect(b"GET /swallow/bizocean?" if number % 2 else b"") for number in range(200)]

    assert {server.swallow().status_code for _ in range(20)} == {200}
    assert is_closed(silent[0])
    assert is_closed(silent[100])
    for connection in silent:
        connection.close()


def test_a_held_mail_is_not_closed_for_those_that_only_wait(serve: Serve, redis_server: RedisProcess) -> None:
    server = serve(redis_server, MAX_CONNECTIONS="20")
    with server.connect(b"GET /gaze/mailaction?evt=open HTTP/1.1\r\nHost: a\r\n\r\n") as mail:
        until(lambda: redis_server.client().llen("oceanus:{mailaction}:queue") == 1)
        silent = [server.connect() for _ in range(60)]

        assert mail.makefile("rb").readline().startswith(b"HTTP/1.1 302")
    for connection in silent:
        connection.close()


def test_a_head_without_end_is_a_431_and_takes_no_memory(serve: Serve, redis_server: RedisProcess) -> None:
    server = serve(redis_server)
    assert server.swallow().status_code == 200  # all is loaded
    before = server.memory()

    for head in (b"GET /", b"GET /hc HTTP/1.1\r\nHost: a\r\nX: "):
        with server.connect(head) as endless:
            flood(endless, 50 * MEGABYTE)
            assert is_closed(endless)
        assert server.raw(head + b"a" * 200_000).split()[1] == b"431"
    assert server.memory() - before < 10 * MEGABYTE


def test_a_body_without_end_takes_no_memory(serve: Serve, redis_server: RedisProcess) -> None:
    server = serve(redis_server)
    assert server.swallow().status_code == 200  # all is loaded
    before = server.memory()

    for kind, head in ENDLESS.items():
        with server.connect(head, seconds=1) as endless:
            flood(endless, 200 * MEGABYTE)
            assert server.memory() - before < 15 * MEGABYTE, kind
    assert server.swallow().status_code == 200


def flood(connection: socket.socket, most: int) -> None:
    """Send up to so many bytes, until nobody takes them any more."""
    try:
        for _ in range(most // MEGABYTE):
            connection.sendall(b"x" * MEGABYTE)
    except OSError:
        pass


def test_a_form_that_was_cut_is_stored_nowhere(serve: Serve, redis_server: RedisProcess) -> None:
    server = serve(redis_server)
    for head in (b"Content-Length: 200\r\n\r\nsid=ab&name=Johan", b"Transfer-Encoding: chunked\r\n\r\n6\r\nsid=ab\r\n"):
        server.connect(FORM + head).close()

    # what the cut ones have begun comes before these
    assert [server.swallow().status_code for _ in range(2)] == [200, 200]
    assert redis_server.client().keys("oceanus:{docreq}:*") == []


def test_a_whole_form_is_stored_though_its_page_has_gone(serve: Serve, redis_server: RedisProcess) -> None:
    server = serve(redis_server)

    for number in range(100):
        body = b"sid=ab&name=%03d" % number
        server.connect(FORM + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)).close()

    queue = "oceanus:{docreq}:queue"
    until(lambda: redis_server.client().llen(queue) == 100)
    names = sorted(orjson.loads(one)["name"] for one in redis_server.client().lrange(queue, 0, -1))
    assert names == [f"{number:03}" for number in range(100)]


def test_requests_that_did_not_wait_for_the_answer_before_are_closed_and_not_forgotten(
    serve: Serve, redis_server: RedisProcess
) -> None:
    server = serve(redis_server)

    with server.connect(b"GET /hc HTTP/1.1\r\nHost: a\r\n\r\n" * 3) as hasty:
        answered = hasty.makefile("rb").read()

    assert answered.count(b"200 OK") == 1


def test_an_upgrade_to_another_protocol_is_an_ordinary_request(serve: Serve, redis_server: RedisProcess) -> None:
    server = serve(redis_server)
    websocket = b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    h2c = b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"

    for upgrade in (websocket, h2c):
        line = server.raw(b"GET /hc HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n" + upgrade + b"\r\n")
        assert line.startswith(b"HTTP/1.1 200")
    assert server.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert server.log.read_text() == ""


def test_a_request_that_two_servers_would_read_in_two_ways_is_a_400(serve: Serve, redis_server: RedisProcess) -> None:
    server = serve(redis_server)

    for head in TWO_WAYS:
        assert server.raw(b"POST /hc HTTP/1.1\r\nHost: a\r\n" + head + b"\r\nGET ").split()[1] == b"400", head


def test_beacons_go_on_under_a_flood_of_all_of_these(serve: Serve, redis_server: RedisProcess) -> None:
    server = serve(redis_server, HURRIED, MAX_CONNECTIONS="100")

    def attack(number: int) -> None:
        with server.connect(seconds=2) as connection:
            flood(connection, (number % 3) * MEGABYTE)

    with ThreadPoolExecutor(8) as pool:
        attacks = [pool.submit(attack, number) for number in range(300)]
        statuses = {beacon(server) for _ in range(100)}

    assert statuses == {200}
    assert all(one.exception() is None or isinstance(one.exception(), OSError) for one in attacks)


def beacon(server: Server) -> int:
    """Send one good beacon."""
    return server.swallow().status_code
