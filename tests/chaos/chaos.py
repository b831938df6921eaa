"""The chaos: a plan of faults under a steady load, the recovery from each measured, and the verdict at the end."""

import asyncio
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import verdict
from tests.chaos.faults import Fault, drop_empty
from tests.chaos.load import Fate
from tests.chaos.stage import Stage
from tests.chaos.verdict import Verdict

ALLOWED_SECONDS = 10.0  # after a fault the backlog is gone within the fault's length and this
GIVE_UP_SECONDS = 120.0
TOLD_SECONDS = 90.0
LOOK_SECONDS = 0.25
STEADY_SECONDS = 3.0  # what a dead process holds is as old as this before it shows
WARM_SECONDS = 5.0
SHOWN_IDS, SHOWN_LINES = 5, 30


@dataclass(frozen=True, slots=True)
class Recovery:
    """How one fault went: its length, and the seconds from its end until the backlog was gone."""

    kind: str
    lasted: float
    seconds: float

    @property
    def is_late(self) -> bool:
        """Say whether it took longer than promised."""
        return self.seconds > self.lasted + ALLOWED_SECONDS

    def __str__(self) -> str:
        late = "  LATE" if self.is_late else ""
        return f"{self.kind:<42} {self.lasted:>5.1f}s recovered {self.seconds:>5.1f}s{late}"


@dataclass
class Outcome:
    """What a whole run came to."""

    verdict: Verdict
    seed: int
    recoveries: list[Recovery] = field(default_factory=list)

    @property
    def recovered_in(self) -> float:
        """Return the worst recovery."""
        return max((one.seconds for one in self.recoveries), default=0.0)

    def lines(self) -> list[str]:
        """Return the table of kinds and the last line."""
        by_kind = defaultdict(list)
        for one in self.recoveries:
            by_kind[one.kind].append(one)
        table = [f"{'kind':<42} count  longest  worst recovery"]
        for kind, found in sorted(by_kind.items()):
            late = sum(one.is_late for one in found)
            longest, worst = max(one.lasted for one in found), max(one.seconds for one in found)
            note = f"   {late} later than length + {ALLOWED_SECONDS:.0f} s" if late else ""
            table.append(f"{kind:<42} {len(found):>5} {longest:>7.1f}s {worst:>14.1f}s{note}")
        last = verdict.last_line(len(self.recoveries), self.verdict, self.recovered_in, self.seed)
        return [*table, "", last]


async def run(
    plan: Sequence[Fault],
    seed: int,
    folder: Path,
    tell: Callable[[str], None],
    *,
    rate: float = 320.0,
    pace: float = 1.0,
    steady_seconds: float = STEADY_SECONDS,
    tmpfs: bool = True,
) -> Outcome:
    """Run a plan; `pace` shortens every fault. Everything that was started is ended, however this ends."""
    quiet = sum(fault.kind.strike is drop_empty for fault in plan)
    stage = Stage(folder, seed, rate, quiet, tmpfs)
    try:
        await stage.start()
        tell(f"all is up, and {rate:.0f} beacons a second are sent; logs: {folder}")
        await asyncio.sleep(WARM_SECONDS)
        await _until_calm(stage, steady_seconds)
        recoveries = []
        for fault in plan:
            lasted, told = await _suffer(stage, fault, pace)
            recoveries.append(Recovery(fault.kind.name, lasted, await _until_calm(stage, steady_seconds)))
            tell(f"{fault.number:>3}/{len(plan)} {recoveries[-1]} {told} appends={stage.append_seconds():.1f}s")
        judged = await _judge(stage, tell)
    finally:
        await stage.end()
    return Outcome(judged, seed, recoveries)


async def _suffer(stage: Stage, fault: Fault, pace: float) -> tuple[float, str]:
    """Do a fault; return how long it lasted, and what clients were answered meanwhile."""
    began, before = time.monotonic(), stage.load.log.counts.copy()
    await fault.kind.strike(stage, random.Random(fault.seed), fault.kind.seconds * pace)
    counts = {fate.name.lower(): stage.load.log.counts[fate] - before[fate] for fate in Fate if fate}
    return time.monotonic() - began, " ".join(f"{name}={count}" for name, count in counts.items())


async def _until_calm(stage: Stage, steady_seconds: float) -> float:
    """Return the seconds until beacons are accepted and the backlog is gone, which is believed when it lasts.

    One that never comes is told as what it is, far too late; the verdict at the end says whether anything is lost.
    """
    began = calm_from = time.monotonic()
    while time.monotonic() - calm_from < steady_seconds:
        if not await asyncio.to_thread(stage.is_calm):
            calm_from = time.monotonic()
        if calm_from - began > GIVE_UP_SECONDS:
            break
        await asyncio.sleep(LOOK_SECONDS)
    return calm_from - began


async def _judge(stage: Stage, tell: Callable[[str], None]) -> Verdict:
    await stage.load.stop()
    ends = time.monotonic() + 2 * GIVE_UP_SECONDS
    while not await asyncio.to_thread(stage.is_empty):
        assert time.monotonic() < ends, f"never empty: {stage.waits()}"
        await asyncio.sleep(LOOK_SECONDS)
    rows = await asyncio.to_thread(lambda: list(stage.rows()))
    tell(f"{stage.load.sent_again} times a named beacon was sent again")
    tell(f"{len(rows)} rows and failed records stand; {len(stage.asides)} copies are put back, and the audit is asked")
    await asyncio.to_thread(stage.restore)
    untold, twice = await _told(stage)
    tell(f"of beacons that revelation should tell of {len(untold)} are not told, and {twice} more than once")
    code, told = await asyncio.to_thread(stage.audit)
    log = stage.load.log
    found = verdict.compare(
        log.of(Fate.ACCEPTED), log.of(Fate.REFUSED), rows, verdict.read_audit(code, told, len(rows)), untold
    )
    if not found.is_good:
        for line in await asyncio.to_thread(_evidence, stage, found):
            tell(line)
    return found


async def _told(stage: Stage) -> tuple[list[int], int]:
    """Wait until all is told: what a killed revelation was at is told by the next, after a while."""
    ends = time.monotonic() + TOLD_SECONDS
    while True:
        found = await asyncio.to_thread(stage.untold)
        if not found[0] or time.monotonic() > ends:
            return found
        await asyncio.sleep(LOOK_SECONDS)


def _evidence(stage: Stage, found: Verdict) -> list[str]:
    """Return the ids that are wrong, where the first of them stand, and what the logs say of that time."""
    told = []
    wrong = {
        "not told": found.untold,
        "missing": found.missing,
        "doubled": found.doubled,
        "refused, but stored": found.stored_though_refused,
    }
    for name, ids in wrong.items():
        if ids:
            told.append(f"{name}: {len(ids)} ids: {' '.join(map(str, ids[:200]))}")
        for one in ids[:SHOWN_IDS]:
            sent_at = stage.load.log.sent_at(one)
            told.append(f"  {one} was sent at {time.strftime('%H:%M:%S', time.localtime(sent_at))}; rows of it:")
            told += [f"    {row}" for row in stage.rows_of(one)]
            told += [f"    {line}" for line in _log_lines(stage.folder, sent_at)]
    return told


def _log_lines(folder: Path, sent_at: float) -> list[str]:
    """Return the first warnings and errors of r2bq and arms within some seconds of a time."""
    near = {time.strftime("%H:%M:%S", time.localtime(sent_at + more)) for more in range(-1, 8)}
    pattern = re.compile(r"^\S+ (\d\d:\d\d:\d\d)\S* (WARNING|ERROR)")
    found = []
    for log in (*sorted(folder.glob("r2bq*.log")), folder / "arms.log"):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        found += [f"{log.name}: {line}" for line in lines if (m := pattern.match(line)) and m[1] in near]
    return found[:SHOWN_LINES]
