"""Waiting beacons share a trip, and each is answered by what became of its own record."""

import asyncio
from collections.abc import Sequence

import pytest

from arms import metrics
from arms.gather import Gather, NotStoredError, Waiting
from oceanus.pushes import Push


class SlowStore:
    """A store whose trips end when the test says so."""

    def __init__(self) -> None:
        self.flights: list[Sequence[Push]] = []
        self.answers: asyncio.Queue[list[str | None]] = asyncio.Queue()

    async def keep(self, pushes: Sequence[Push]) -> list[str | None]:
        self.flights.append(pushes)
        answer = await self.answers.get()
        return answer or [None] * len(pushes)


async def store(gather: Gather, text: bytes, site: str = "shop", minute: str = "202611221000") -> None:
    await gather.store(site, "queue", text, minute=minute, digest=1, received_ms=5)


async def settled(*tasks: "asyncio.Task[None]") -> list[object]:
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_what_arrives_during_a_flight_goes_with_the_next() -> None:
    async def run() -> None:
        slow = SlowStore()
        gather = Gather(slow)
        first = asyncio.create_task(store(gather, b"1"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        others = [asyncio.create_task(store(gather, b"%d" % i)) for i in range(2, 5)]
        await asyncio.sleep(0)
        assert not first.done()
        slow.answers.put_nowait([])
        await first
        assert not any(task.done() for task in others)
        slow.answers.put_nowait([])
        assert await settled(*others) == [None] * 3

        assert [[push.records for push in flight] for flight in slow.flights] == [[[b"1"]], [[b"2", b"3", b"4"]]]
        assert slow.flights[1][0].digest == 3

    asyncio.run(run())


def test_sites_and_minutes_are_pushes_of_their_own_and_fail_alone() -> None:
    async def run() -> None:
        slow = SlowStore()
        gather = Gather(slow)
        slow.answers.put_nowait([None, "full", None])
        ends = await settled(
            asyncio.create_task(store(gather, b"1")),
            asyncio.create_task(store(gather, b"2", site="other")),
            asyncio.create_task(store(gather, b"3", minute="202611221001")),
        )

        assert [type(end) for end in ends] == [type(None), NotStoredError, type(None)]

    asyncio.run(run())


def test_a_flight_without_an_answer_fails_its_beacons_and_the_next_flies() -> None:
    async def run() -> None:
        slow = SlowStore()
        gather = Gather(slow)
        slow.answers.put_nowait(["away"])
        with pytest.raises(NotStoredError, match="away"):
            await store(gather, b"1")
        slow.answers.put_nowait([])
        await store(gather, b"2")

    asyncio.run(run())


def test_what_cannot_be_told_or_counted_keeps_no_other_from_hearing_and_nobody_hears_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[str | None] = []

    def breaks(_refusal: str | None) -> None:
        raise RuntimeError

    async def run() -> None:
        slow = SlowStore()
        gather = Gather(slow)
        for told in (breaks, heard.append):
            gather.put(Waiting("shop", "queue", "202611221000", 1, 5, b"1", alerts=False, named=False, told=told))
        slow.answers.put_nowait([])
        slow.answers.put_nowait([])
        await asyncio.sleep(0.01)
        await store(gather, b"2")

    monkeypatch.setattr(metrics.BEACONS, "labels", breaks)
    asyncio.run(run())

    assert heard == [None]


def test_a_client_that_went_away_takes_no_other_with_it() -> None:
    async def run() -> None:
        slow = SlowStore()
        gather = Gather(slow)
        gone, there = asyncio.create_task(store(gather, b"1")), asyncio.create_task(store(gather, b"2"))
        await asyncio.sleep(0)
        gone.cancel()
        slow.answers.put_nowait([])
        await there

        assert [push.records for push in slow.flights[0]] == [[b"1", b"2"]]

    asyncio.run(run())
