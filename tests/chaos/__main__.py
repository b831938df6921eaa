"""`make chaos`: FAULTS (200) faults by SEED (a new one), and exit 1 unless every accepted beacon is one row.

To look into one thing: KINDS (a pattern) chooses among the kinds, PACE shortens each fault, KEEP=1 keeps the logs.
"""

import asyncio
import os
import random
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos import chaos, faults
from tests.chaos.chaos import Outcome
from tests.chaos.stage import may_mount


def main() -> int:
    """Run, print, judge."""
    count = int(os.environ.get("FAULTS") or 200)
    seed = int(os.environ.get("SEED") or random.randrange(1_000_000))
    pace = float(os.environ.get("PACE") or 1)
    folder = Path(tempfile.mkdtemp(prefix="oceanus-chaos-"))
    missing = faults.lacking(faults.KINDS, may_mount(folder))
    for part, remedy in missing.items():
        print(f"skipped here, for want of {part}: {', '.join(_kinds_that_need(part))} ({remedy})")
    if missing and os.environ.get("CI") == "true":
        print("CI must have every part")
        return 1
    wanted = re.compile(os.environ.get("KINDS", ""))
    kinds = [kind for kind in faults.KINDS if kind.needs not in missing and wanted.search(kind.name)]
    plan = faults.plan(kinds, count, seed)
    print(f"chaos: {len(plan)} faults of {len(kinds)} kinds, seed {seed}", flush=True)
    try:
        outcome = asyncio.run(_run(plan, seed, folder, pace, tmpfs="tmpfs" not in missing))
    except (AssertionError, asyncio.CancelledError, KeyboardInterrupt) as exc:
        print(f"stopped: {str(exc) or type(exc).__name__}; logs: {folder}")
        return 1
    print("\n".join(outcome.lines()))
    late = any(one.is_late for one in outcome.recoveries)
    if outcome.verdict.is_good and not late and not os.environ.get("KEEP"):
        shutil.rmtree(folder)
        return 0
    print(f"logs: {folder}", file=sys.stderr)
    return 0 if outcome.verdict.is_good else 1


async def _run(plan: list[faults.Fault], seed: int, folder: Path, pace: float, tmpfs: bool) -> Outcome:
    this = asyncio.current_task()
    assert this
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, this.cancel)
    return await chaos.run(plan, seed, folder, lambda line: print(line, flush=True), pace=pace, tmpfs=tmpfs)


def _kinds_that_need(part: str) -> list[str]:
    return [kind.name for kind in faults.KINDS if kind.needs == part]


if __name__ == "__main__":
    sys.exit(main())
