"""`python -m tests.model`: run many seeds, and then, if asked, the mutations, each of which must come out bad."""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import RedisProcess, end
from tests.model.mutations import MUTATIONS, Mutation
from tests.model.world import Outcome, World


@contextmanager
def fast_redis() -> Iterator[RedisProcess]:
    """Yield a Redis that keeps nothing on disk: that what it has fsynced stays is not what is tried here."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisProcess(Path(folder))
        server.client().config_set("appendonly", "no")
        try:
            yield server
        finally:
            end(server.process)


def main() -> int:
    """Run what was asked for; return 1 if a run of the product was bad, or all runs of a mutation were good."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--runs", type=int, default=400, help="seeds, of the product as it is (default 400)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--mutations", action="store_true", help="then each mutation, which must be bad")
    parser.add_argument("--only", help="this mutation alone")
    parser.add_argument("--named", type=float, default=0.2, help="share that trackers may send again (default 0.2)")
    parser.add_argument("--tell", action="store_true", help="print every step: with --first N --runs 1")
    asked = parser.parse_args()
    with fast_redis() as redis:
        seeds = range(asked.first, asked.first + asked.runs)
        good = asked.only is not None or clean(redis, seeds, asked)
        if asked.mutations or asked.only:
            chosen = [one for one in MUTATIONS if asked.only in (None, one.name)]
            good = not [one for one in chosen if not mutated(redis, one, asked)] and good
    return 0 if good else 1


def clean(redis: RedisProcess, seeds: range, asked: argparse.Namespace) -> bool:
    """Run the product as it is; say what was wrong, and in the end what befell it."""
    tally: Counter[str] = Counter()
    accepted = missing = doubled = bad = 0
    for count, seed in enumerate(seeds, 1):
        run = World(redis, seed, named=asked.named, tell=print if asked.tell else lambda line: None).run()
        tally += run.tally
        accepted, missing, doubled = accepted + run.accepted, missing + run.missing, doubled + run.doubled
        if run.wrong:
            bad += 1
            print(f"seed {seed}:", *run.wrong[:5], sep="\n  ")
        if count % 20 == 0:
            print(f"{count} of {len(seeds)} runs, {accepted} accepted, {bad} bad", file=sys.stderr, flush=True)
    kills, stops = tally["kill"] + tally["killed_anywhere"], tally["stop"] + tally["stopped_anywhere"]
    print(
        f"runs={len(seeds)} accepted={accepted} kills={kills} stops={stops} lost={tally['lost']} late={tally['late']}"
        f" missing={missing} doubled={doubled} ledger={'exact' if not bad else f'see {bad} bad runs'}",
        flush=True,
    )
    return not bad


def mutated(redis: RedisProcess, mutation: Mutation, asked: argparse.Namespace) -> bool:
    """Run one mutation, and say in how many runs it came out bad, and by what."""
    bad: list[Outcome] = []
    seeds = range(asked.first, asked.first + mutation.runs)
    for seed in seeds:
        run = World(redis, seed, mutation=mutation, tell=print if asked.tell else lambda line: None).run()
        bad += [run] if run.shows else []
    ways = Counter(way for run in bad for way in {one.partition(":")[0] for one in run.shows})
    told = [f"first seed {bad[0].seed}", *(f"{way} {count}" for way, count in ways.most_common())] if bad else []
    print(f"{mutation.name}: {len(bad)} of {len(seeds)} runs bad ({', '.join(told)})", flush=True)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
