"""A few runs of the simulation (`make model` makes many): clean, the same twice, and bad without each protection."""

from collections.abc import Iterator

import pytest

from management import parts
from oceanus.errors import MisconfiguredError
from tests.conftest import RedisProcess, absent
from tests.model.__main__ import fast_redis
from tests.model.mutations import MUTATIONS, Mutation
from tests.model.world import World


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisProcess]:
    """A Redis for these runs alone."""
    try:
        parts.find_redis()
    except MisconfiguredError as exc:
        absent(str(exc))
    with fast_redis() as server:
        yield server


@pytest.mark.parametrize("seed", range(4))
def test_each_accepted_beacon_is_one_row_whatever_is_killed(redis: RedisProcess, seed: int) -> None:
    outcome = World(redis, seed).run()

    assert outcome.wrong == []
    assert outcome.accepted > 500
    assert outcome.tally["kill"] + outcome.tally["killed_anywhere"] > 0


def test_a_seed_is_the_same_run_each_time(redis: RedisProcess) -> None:
    first, second, other = (World(redis, seed).run().trace for seed in (7, 7, 8))

    assert first == second != other


def test_a_named_beacon_is_sent_again_until_it_is_accepted_and_is_one_row(redis: RedisProcess) -> None:
    outcome = World(redis, 2, named=0.2).run()

    assert outcome.wrong == []
    assert outcome.tally["again"] > 0


@pytest.mark.parametrize(
    "name", ["no-seq", "fresh-push-id", "same-producer", "no-owner", "claim-adds", "offset-in-memory", "no-fence"]
)
def test_a_protection_that_is_taken_away_shows(redis: RedisProcess, name: str) -> None:
    [mutation] = [one for one in MUTATIONS if one.name == name]

    assert any(World(redis, seed, mutation=mutation).run().shows for seed in range(20))


def test_a_mutation_whose_protection_reads_otherwise_now_says_so() -> None:
    stale = Mutation(name="stale", changes={"SETTLE": {"no such text": ""}})

    with pytest.raises(AssertionError, match="no such text"), stale.applied():
        pass
