"""`make cost`: what the guarantee costs arms: with fsync and ledger, and by turns with `appendfsync no` and no ledger.

PAIRS (7) alternations of SECONDS_EACH (5) seconds; the last line is the median of the pairs' ratios. Needs wrk.
"""

import os
import sys
from functools import partial
from pathlib import Path
from statistics import median

from management.bench import collector, load
from management.bench.collector import Measured
from management.bench.rig import rig
from oceanus.errors import MisconfiguredError

HERE = Path(__file__).parent


def main() -> int:
    """Measure by turns and print."""
    try:
        load.find("wrk")
    except MisconfiguredError as exc:
        print(exc)
        return 1
    pairs, seconds = int(os.environ.get("PAIRS") or 7), int(os.environ.get("SECONDS_EACH") or 5)
    print("with: appendfsync always and the ledger; without: appendfsync no, and no ledger")
    ratios = []
    for number in range(pairs):
        measured = {with_it: _measure(with_it, seconds) for with_it in ((True, False) if number % 2 else (False, True))}
        full, bare = measured[True], measured[False]
        ratios.append((full.a_second / bare.a_second, full.cpu_us / bare.cpu_us))
        print(
            f"with {full.a_second:,.0f} requests/s, {full.cpu_us:.0f} CPU us each;"
            f" without {bare.a_second:,.0f}, {bare.cpu_us:.0f}: ratio {ratios[-1][0]:.2f}",
            flush=True,
        )
    requests, cpu = median(one for one, _ in ratios), median(one for _, one in ratios)
    print(f"ratio_requests={requests:.2f} ratio_cpu={cpu:.2f} pairs={pairs}")
    return 0 if requests >= 0.9 else 1


def _measure(guaranteed: bool, seconds: int) -> Measured:
    """Start a Redis and an arms of one worker, with the guarantee or without it, and drive them."""
    with rig() as made:
        made.redis(*([] if guaranteed else ["--appendfsync", "no"]))
        path = [str(HERE.parents[1])] if guaranteed else [str(HERE / "without"), str(HERE.parents[1])]
        arms = made.arms(PYTHONPATH=os.pathsep.join(path))
        load.full(arms.url, collector.WARM_SECONDS)
        return collector.measure(arms, partial(load.full, arms.url, seconds))


if __name__ == "__main__":
    sys.exit(main())
