"""What Redis does not plainly take is in the journal before it is answered, and stored once when Redis is back."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from arms.journal import Journal
from arms.store import Store
from oceanus.errors import SpoolForgotError, SpoolRefusedError, SpoolUnclearError
from oceanus.pushes import Numbered, Push


class FakeRedis:
    """A Redis that keeps every push once by its number, loses answers, refuses, goes away, and forgets."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        self.last: dict[tuple[str, str], int] = {}
        self.mood = "well"
        self.names = 0
        self.renew()

    def renew(self) -> None:
        self.names += 1
        self._seq: dict[str, int] = {}

    def number(self, pushes: Sequence[Push]) -> list[Numbered]:
        numbered = []
        for push in pushes:
            self._seq[push.site] = self._seq.get(push.site, 0) + 1
            numbered.append(Numbered(push, f"p{self.names}", self._seq[push.site]))
        return numbered

    async def send(self, numbered: Sequence[Numbered], seconds: float) -> list[SpoolRefusedError | None]:
        if self.mood == "away":
            raise SpoolUnclearError("away")
        if self.mood == "full":
            return [SpoolRefusedError("full")] * len(numbered)
        answers = [self._apply(one) for one in numbered]
        if self.mood == "lossy":
            raise SpoolUnclearError("its answer was lost")
        return answers

    async def push(self, pushes: Sequence[Push], seconds: float) -> list[SpoolRefusedError | None]:
        return await self.send(self.number(pushes), seconds)

    async def ping(self) -> None:
        if self.mood == "away":
            raise SpoolUnclearError("away")

    def _apply(self, one: Numbered) -> SpoolRefusedError | None:
        last = self.last.get((one.push.site, one.producer), 0)
        if one.seq > last + 1:
            return SpoolForgotError("gap")
        if one.seq == last + 1:
            self.last[one.push.site, one.producer] = one.seq
            self.kept += one.push.records
        return None


def push(*texts: bytes, site: str = "shop") -> Push:
    return Push(site=site, source="queue", minute="202611221000", digest=1, last_ms=2**41, records=list(texts))


def store(redis: FakeRedis, folder: Path | None, name: str = "a", most: int = 1 << 20, segment: int = 1 << 14) -> Store:
    return Store(redis, Journal(folder, name, most, segment) if folder else None, 0.1)


def keep(to: Store, *pushes: Push) -> list[str | None]:
    return asyncio.run(to.keep(list(pushes)))


@pytest.mark.parametrize("mood", ["away", "full", "lossy"])
def test_what_redis_does_not_plainly_take_is_kept_and_stored_once(tmp_path: Path, mood: str) -> None:
    redis = FakeRedis()
    kept = store(redis, tmp_path)
    keep(kept, push(b"1"))
    redis.mood = mood

    answers = [keep(kept, push(b"2"), push(b"3", site="mail")), keep(kept, push(b"4"))]
    asyncio.run(kept.mend())
    redis.mood = "well"
    asyncio.run(kept.mend())
    keep(kept, push(b"5"))
    asyncio.run(kept.mend())

    assert answers == [[None, None], [None]]
    assert sorted(redis.kept) == [b"1", b"2", b"3", b"4", b"5"]
    assert [file.stat().st_blocks > 0 for file in tmp_path.iterdir()] in ([], [True])


def test_without_a_journal_nothing_is_accepted_that_redis_did_not_take() -> None:
    redis = FakeRedis()
    redis.mood = "away"

    assert keep(store(redis, None), push(b"1")) == ["away"]


def test_a_full_journal_sends_nothing_to_redis(tmp_path: Path) -> None:
    redis = FakeRedis()
    kept = store(redis, tmp_path, most=1 << 14)

    answers = keep(kept, push(b"x" * (1 << 15)))

    assert [bool(answer) for answer in answers] == [True]
    assert redis.kept == []


def test_what_a_dead_process_left_is_pushed_by_another(tmp_path: Path) -> None:
    redis = FakeRedis()
    dead = store(redis, tmp_path, "dead")
    redis.mood = "lossy"
    keep(dead, push(b"1"), push(b"2"))
    dead._journal._current.close()
    redis.mood = "well"

    asyncio.run(store(redis, tmp_path, "next").mend())

    assert redis.kept == [b"1", b"2"]
    assert list(tmp_path.iterdir()) == []


def test_a_redis_that_forgot_a_producer_gets_its_entries_once_under_another_name(tmp_path: Path) -> None:
    redis = FakeRedis()
    kept = store(redis, tmp_path)
    keep(kept, push(b"1"))
    redis.mood = "lossy"
    keep(kept, push(b"2"))
    redis.last, redis.kept, redis.mood = {}, [], "well"

    asyncio.run(kept.mend())
    asyncio.run(kept.mend())

    assert redis.kept == [b"2"]


def damaged(redis: FakeRedis, folder: Path) -> Store:
    """Return a store whose journal holds three pushes, the second one changed by hand, and a Redis that is back."""
    kept = store(redis, folder)
    redis.mood = "away"
    for text in (b"11111111", b"22222222", b"33333333"):
        keep(kept, push(text))
    [file] = folder.iterdir()
    file.write_bytes(file.read_bytes().replace(b"22222222", b"2222z222"))
    redis.mood = "well"
    return kept


def test_damage_in_the_middle_is_a_failed_record_and_loses_no_other(tmp_path: Path) -> None:
    redis = FakeRedis()

    asyncio.run(damaged(redis, tmp_path).mend())

    whole = [text for text in redis.kept if not text.startswith(b"{")]
    [failed] = [orjson.loads(text) for text in redis.kept if text.startswith(b"{")]
    assert whole == [b"11111111", b"33333333"]
    assert "2222z222" in failed["raw"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["well", "away", "full", "lossy", "mend", "die"]), st.integers(1, 3)), max_size=25
    )
)
def test_every_accepted_record_is_stored_exactly_once(moods: list[tuple[str, int]]) -> None:
    asyncio.run(_wander(moods))


async def _wander(moods: list[tuple[str, int]]) -> None:
    import tempfile  # noqa: PLC0415 - hypothesis calls this many times: a folder for each

    with tempfile.TemporaryDirectory() as folder:
        redis, starts, sent, accepted = FakeRedis(), 0, 0, []
        kept = store(redis, Path(folder), "s0")
        for mood, count in moods:
            if mood == "mend":
                await kept.mend()
            elif mood == "die":
                _die(kept)
                starts += 1
                redis.renew()
                kept = store(redis, Path(folder), f"s{starts}")
            else:
                redis.mood = mood
                for _ in range(count):
                    sent += 1
                    text = b"%d" % sent
                    if await kept.keep([push(text)]) == [None]:
                        accepted.append(text)
        redis.mood = "well"
        for _ in range(3):
            await kept.mend()

        assert len(accepted) == sent
        assert sorted(redis.kept) == sorted(accepted)


def _die(kept: Store) -> None:
    journal = kept._journal
    assert journal is not None
    for segment in [*journal.waiting, *([journal._current] if journal._current else [])]:
        segment.close()


@pytest.mark.parametrize("seed", range(20))
def test_mending_beside_a_flight_loses_nothing(tmp_path: Path, seed: int) -> None:
    redis = FakeRedis()
    kept = store(redis, tmp_path)
    chance = random.Random(seed)

    async def run() -> list[bytes]:
        accepted = []
        for number in range(30):
            redis.mood = chance.choice(["well", "away", "lossy", "full"])
            answers, *_ = await asyncio.gather(kept.keep([push(b"%d" % number)]), kept.mend(), kept.ready())
            accepted += [b"%d" % number] if answers == [None] else []
        redis.mood = "well"
        await kept.mend()
        await kept.mend()
        return accepted

    accepted = asyncio.run(run())

    assert len(accepted) == 30
    assert sorted(redis.kept) == sorted(accepted)


@pytest.mark.parametrize(
    ("mood", "cause"), [("away", "SpoolUnclear"), ("full", "SpoolRefused"), ("lossy", "SpoolUnclear")]
)
@pytest.mark.parametrize("journalled", [True, False])
def test_a_flight_that_redis_did_not_plainly_take_is_counted_by_its_cause(
    tmp_path: Path, mood: str, cause: str, journalled: bool
) -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("oceanus_arms_push_troubles_total", {"cause": cause}) or 0.0

    redis, before = FakeRedis(), counted()
    redis.mood = mood

    keep(store(redis, tmp_path if journalled else None), push(b"1"), push(b"2", site="mail"))

    assert counted() == before + 1
