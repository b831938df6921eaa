"""A watch on one r2bq while it empties a queue, from the last look before its first claim until all is settled."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from management.bench.rig import Server
from oceanus.spool import Spool

STEP_SECONDS = 0.02
STILL_SECONDS = 60.0  # without a row settled: it is stuck


@dataclass(frozen=True, slots=True)
class Look:
    """When, how many records were claimed and how many were left, r2bq's CPU seconds, and its memory in MiB."""

    at: float
    claimed: int
    left: int
    cpu_seconds: float
    mib: float


@dataclass(frozen=True, slots=True)
class Drained:
    """What a turn of r2bq told: rows a second, its CPU for each, its peak memory in MiB.

    The last two are what a row took of the first tenth, while all others waited, by what one of the last tenth took: in
    time, and in CPU.
    """

    rows_per_second: float
    cpu_us_per_row: float
    peak_mib: float
    ratio_backlog: float
    ratio_backlog_cpu: float


def watch(spool: Spool, site: str, process: Server, tell: Callable[[int], object]) -> Drained:
    """Look 50 times a second, telling how many records are left; raises TimeoutError where nothing moves any more."""
    looks = [_look(spool, site, process)]
    moved_at = looks[0].at
    while looks[-1].left:
        time.sleep(STEP_SECONDS)  # r2bq is another process, which can only be asked again
        look = _look(spool, site, process)
        if look.left != looks[-1].left:
            moved_at = look.at
        elif look.at - moved_at > STILL_SECONDS:
            raise TimeoutError(f"{site}: {look.left} records wait, and none moves")
        is_idle = look.left == looks[0].left and not look.claimed
        looks = [look] if is_idle else [*looks, look]
        tell(look.left)
    return drained(looks)


def drained(looks: Sequence[Look]) -> Drained:
    """Return what looks tell, of which the first is the last before a claim, and the last finds nothing left."""
    begin, end = looks[0], looks[-1]
    first = next(one for one in looks if one.left <= begin.left * 0.9)
    last = next(one for one in looks if one.left <= begin.left * 0.1)
    time_first, cpu_first = _taken(begin, first)
    time_last, cpu_last = _taken(last, end)
    time_us, cpu_us = _taken(begin, end)
    return Drained(
        rows_per_second=1e6 / time_us,
        cpu_us_per_row=cpu_us,
        peak_mib=max(one.mib for one in looks),
        ratio_backlog=time_first / time_last if time_last else 1.0,
        ratio_backlog_cpu=cpu_first / cpu_last if cpu_last else 1.0,
    )


def _taken(begin: Look, end: Look) -> tuple[float, float]:
    """Return microseconds and CPU microseconds for each row settled between two looks; nothing, if none was."""
    rows = begin.left - end.left
    if not rows:
        return 0.0, 0.0
    return (end.at - begin.at) * 1e6 / rows, (end.cpu_seconds - begin.cpu_seconds) * 1e6 / rows


def _look(spool: Spool, site: str, process: Server) -> Look:
    found, use = spool.look(site), process.use()
    return Look(time.monotonic(), found.claimed, found.queue + found.claimed, use.cpu_seconds, use.mib)
