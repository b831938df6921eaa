"""Sending the lines of a log, against a collector made of a function."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from management import replay
from management.replay import NobodyAnswersError, Replay, Span, Tally

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def line(second: int, path: str = "/", day: int = 17) -> bytes:
    return f'192.0.2.1 - - [{day}/May/2015:10:05:{second:02} +0000] "GET {path} HTTP/1.1" 200 5 "-" "Agent"\n'.encode()


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += max(0.0, seconds)
        await asyncio.sleep(0)


def send(
    lines: list[bytes],
    collector: Callable[[httpx.Request], httpx.Response],
    clock: Clock,
    rate: float | None = None,
    waits: Callable[[str], None] = lambda _: None,
) -> Tally:
    """Replay `lines` to a collector that is a function; return the tally, also where the replay gave up."""
    tally, covered = Tally(), replay.span(lines)

    async def run() -> None:
        headers = {"Authorization": "Bearer secret"}
        transport = httpx.MockTransport(collector)
        async with httpx.AsyncClient(transport=transport, base_url="http://arms", headers=headers) as client:
            sending = Replay(client, "shop", tally, rate, clock.sleep, clock, waits)
            await sending.send(replay.sendings(lines, covered, replay.shift_to(covered, NOW)), lambda: None)

    asyncio.run(run())
    return tally


def test_each_line_is_one_request_with_its_own_headers():
    seen: list[httpx.Request] = []

    def collector(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    tally = send([line(1, "/a b?x=1&y")], collector, Clock())

    (request,) = seen
    assert request.url.path == "/swallow/shop"
    assert request.url.params["url"] == "/a b?x=1&y"
    assert request.headers["Authorization"] == "Bearer secret"
    assert request.headers["User-Agent"] == "Agent"
    assert request.headers["X-Oceanus-Address"] == "192.0.2.1"
    assert request.headers["X-Oceanus-Time"] == "2026-11-22T12:00:00Z"
    assert replay.closing(tally, "shop", 1.25, 1) == (
        "sent 1 beacon to shop in 1.2 s: 1 accepted, 0 rejected, 0 unclear, 0 lines could not be parsed"
    )


def test_gaps_are_kept_and_the_last_line_by_time_is_now():
    lines = [line(10), line(40), b"no log line\n", line(20)]
    covered = replay.span(lines)

    sent = list(replay.sendings(lines, covered, replay.shift_to(covered, NOW)))

    assert [one.time for one in sent] == [NOW - timedelta(seconds=back) for back in (30, 0, 0, 20)]
    assert [one.beacon.parsed for one in sent] == [True, True, False, True]


def test_first_line_without_time_takes_the_first_time_there_is():
    lines = [b"no log line\n", line(10), line(20)]
    covered = replay.span(lines)

    assert next(replay.sendings(lines, covered, timedelta(0))).time == covered.first


def test_log_without_any_time_is_sent_as_it_is():
    covered = replay.span([b"nothing\n"])

    assert covered == Span(lines=1, first=None, earliest=None, last=None)
    assert replay.shift_to(covered, NOW) == timedelta(0)


def test_lines_older_than_arms_takes_are_noticed():
    covered, when = replay.span([line(1)]), datetime(2015, 5, 17, 10, 5, 1, tzinfo=UTC)

    assert not replay.too_old(covered, timedelta(0), when + timedelta(days=3650))
    assert replay.too_old(covered, timedelta(0), when + timedelta(days=3650, seconds=1))
    assert (replay.oldest_days(None), replay.oldest_days(90), replay.oldest_days(9999)) == (3650, 90, 3650)

    assert replay.too_old(covered, timedelta(0), NOW)
    assert not replay.too_old(covered, replay.shift_to(covered, NOW), NOW)


def test_waiting_for_arms_is_told_once_and_at_once():
    clock, told = Clock(), list[tuple[str, float]]()

    def collector(request: httpx.Request) -> httpx.Response:
        if clock.now < 5:
            raise httpx.ConnectError("refused")
        return httpx.Response(200)

    send([line(1)] * 3, collector, clock, waits=lambda text: told.append((text, clock.now)))

    assert told == [("arms does not answer; trying again for 60 s", 0.0)]


def test_log_of_which_most_lines_cannot_be_parsed_is_doubted():
    assert replay.is_no_log(Tally(accepted=3, unparsed=2))
    assert not replay.is_no_log(Tally(accepted=4, unparsed=2))
    assert not replay.is_no_log(Tally())


def test_503_is_sent_again_no_sooner_than_it_asks():
    answers = [httpx.Response(503, headers={"Retry-After": "7"}), httpx.Response(503), httpx.Response(200)]
    clock = Clock()

    tally = send([line(1)], lambda _: answers.pop(0), clock)

    assert (tally.accepted, tally.failures) == (1, {})
    assert clock.slept[0] == 7


def test_refused_connection_is_tried_again():
    def collector(request: httpx.Request) -> httpx.Response:
        if clock.now < 1:
            raise httpx.ConnectError("refused")
        return httpx.Response(200)

    clock = Clock()

    assert send([line(1)], collector, clock).accepted == 1


def test_lost_answer_is_unclear_and_never_repeated():
    tries: list[str] = []

    def collector(request: httpx.Request) -> httpx.Response:
        tries.append(request.url.params["url"])
        if request.url.params["url"] == "/lost":
            raise httpx.ReadError("reset")
        return httpx.Response(200)

    tally = send([line(1), line(2, "/lost")], collector, Clock())

    assert sorted(tries) == ["/", "/lost"]
    assert (tally.accepted, tally.unclear) == (1, 1)
    assert replay.named(tally) == ["1 x no answer, it may be stored or not: ReadError (first in line 2)"]


def test_rejected_and_broken_answers_are_named():
    def collector(request: httpx.Request) -> httpx.Response:
        if request.url.params["url"] == "/bad":
            return httpx.Response(400, headers={"X-Oceanus-Error": "url: too long"})
        return httpx.Response(502)

    tally = send([line(1, "/bad"), line(2, "/bad"), line(3)], collector, Clock())

    assert (tally.accepted, tally.rejected, tally.unclear) == (0, 2, 1)
    assert replay.named(tally) == ["2 x 400 url: too long (first in line 1)", "1 x 502 Bad Gateway (first in line 3)"]


def test_collector_that_never_answers_is_given_up():
    clock = Clock()

    with pytest.raises(NobodyAnswersError, match="nothing was stored for 60 s"):
        send([line(1)] * 3, lambda _: httpx.Response(503), clock)

    assert 60 < clock.now < 600


def test_rate_spaces_the_beacons():
    clock = Clock()

    send([line(second) for second in range(11)], lambda _: httpx.Response(200), clock, rate=2)

    assert clock.now == 5.0


def test_unparsed_lines_are_told():
    tally = send([b"nonsense\n", line(1)], lambda _: httpx.Response(200), Clock())

    assert replay.closing(tally, "shop", 2, 3).endswith("1 line could not be parsed; 1 line was not sent")
