"""Beacons in bulk: records as arms makes them of realistic requests, pushed by the script of arms, which counts them.

The requests are those of `beacon.lua`, each of another page.
"""

import os
from collections.abc import Callable, Iterable, Iterator

from arms.intake import Accepted, Intake, Sent
from oceanus import records, spool
from oceanus.pushes import Push
from oceanus.settings import RedisSettings
from oceanus.sites import Site
from oceanus.spool import Pusher

AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
)
PAGE = "https://www.example.jp/page/"
PARAMETERS = {
    "oid": "2",
    "evt": "pageview",
    "uid": "1084205",
    "sid": "86895a04e5a59600",
    "enc": "UTF-8",
    "tit": "お問い合わせ",
    "scr": "1920x1080",
    "vie": "1903x510",
    "ref": "https://www.example.jp/",
    "jsn": '{"pageX":820,"kwd":"ポケ"}',
}
FLIGHT = 500  # records in a push
APART_US = 100  # 10,000 a second; a minute ends with a push
_MINUTE_US = 60_000_000
_ANSWER_SECONDS = 60.0


def pushes(site: Site, count: int, now_us: int) -> Iterator[Push]:
    """Yield pushes of `count` records in all, received 10,000 a second up to the last minute."""
    model = _model(site, now_us)
    first_us = (now_us - count * APART_US) // _MINUTE_US * _MINUTE_US - _MINUTE_US
    for begin in range(0, count, FLIGHT):
        numbers = range(begin, min(begin + FLIGHT, count))
        yield _push(site, model, [(number, first_us + number * APART_US) for number in numbers])


async def push(redis: RedisSettings, every: Iterable[Push], tell: Callable[[int], object]) -> None:
    """Push them all, telling how many records are in Redis now; raises SpoolError."""
    pusher = Pusher(spool.connect_pusher(redis, _ANSWER_SECONDS), "bench", os.getpid())
    try:
        for one in every:
            for refused in await pusher.push([one], _ANSWER_SECONDS):
                if refused is not None:
                    raise refused
            tell(len(one.records))
    finally:
        await pusher.close()


def _model(site: Site, now_us: int) -> records.Record:
    """Return what arms makes of one such request."""
    sent = Sent(
        parameters=[*PARAMETERS.items(), ("url", PAGE)],
        headers={"user-agent": AGENT},
        address="203.0.113.7",
        now_us=now_us,
        route="swallow",
        raw="",
    )
    taken = Intake(site, lambda _: "pc").take(sent)
    if not isinstance(taken, Accepted):
        raise TypeError(f"{site.name} does not take the bench's beacons: {taken}")
    return taken.record


def _push(site: Site, model: records.Record, told: list[tuple[int, int]]) -> Push:
    rows = [
        model | {"eid": records.mint(at_us), "dt": records.time_text(at_us), "url": f"{PAGE}{number}"}
        for number, at_us in told
    ]
    return Push(
        site=site.name,
        source="queue",
        minute=records.minute(rows[0]["dt"]),
        digest=sum(records.digest(row["eid"]) for row in rows),
        last_ms=told[-1][1] // 1000,
        records=[records.encode(row) for row in rows],
    )
