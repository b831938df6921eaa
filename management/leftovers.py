"""Leftovers: the living processes of a child's session, found by who they are and not by number alone.

A process is signalled only if it belongs to the session of a child that we started: a number that another process
has taken since is left alone.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil

# The kernel's clock ticks and a corrected system clock move a start time a little; numbers do not come back so soon.
_TOLERANCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Mark:
    """A process that cannot be mistaken for a later one of the same number."""

    pid: int
    create_time: float


def mark(pid: int) -> Mark:
    """Return the mark of a running process; raises psutil.NoSuchProcess."""
    return Mark(pid, psutil.Process(pid).create_time())


def mark_started(pid: int) -> Mark:
    """Return the mark of a process that was started this moment and may have ended already."""
    try:
        return mark(pid)
    except psutil.NoSuchProcess:
        return Mark(pid, time.time())


def lives(marked: Mark) -> bool:
    """Say whether this very process runs."""
    try:
        process = psutil.Process(marked.pid)
        return _same(process.create_time(), marked.create_time) and _runs(process)
    except psutil.Error:
        return False


def members(leader: Mark) -> list[psutil.Process]:
    """Return the living processes of the session that `leader` began, itself included, whether it lives or not."""
    if _taken_by_another(leader):
        return []
    return [process for process in psutil.process_iter() if _belongs(process, leader)]


def end(leaders: Iterable[Mark], grace_seconds: float, sleep: Callable[[float], None] = time.sleep) -> list[int]:
    """End what lives of these sessions: SIGTERM, and SIGKILL after `grace_seconds`; return the numbers of all ended."""
    left = [process for leader in leaders for process in members(leader)]
    numbers = [process.pid for process in left]
    for signalled in (psutil.Process.terminate, psutil.Process.kill):
        for process in left:
            with contextlib.suppress(psutil.Error):
                signalled(process)
        left = _wait(left, grace_seconds, sleep)
        if not left:
            break
    return numbers


def _wait(processes: list[psutil.Process], seconds: float, sleep: Callable[[float], None]) -> list[psutil.Process]:
    """Return those that still live after `seconds`, or nothing as soon as none does."""
    deadline = time.monotonic() + seconds
    while processes and time.monotonic() < deadline:
        processes = [process for process in processes if _runs(process)]
        if processes:
            sleep(0.02)
    return processes


def _taken_by_another(leader: Mark) -> bool:
    """Say whether the leader's number is another process's by now: then its session has no member left either."""
    try:
        return not _same(psutil.Process(leader.pid).create_time(), leader.create_time)
    except psutil.Error:
        return False


def _belongs(process: psutil.Process, leader: Mark) -> bool:
    try:
        in_session = os.getsid(process.pid) == leader.pid
        return in_session and process.create_time() >= leader.create_time - _TOLERANCE_SECONDS and _runs(process)
    except (OSError, psutil.Error):
        return False


def _runs(process: psutil.Process) -> bool:
    """Say whether a process runs; a zombie does not, and where no init collects it, it would stay for ever."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _same(one: float, other: float) -> bool:
    return abs(one - other) < _TOLERANCE_SECONDS
