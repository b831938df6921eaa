"""Instructions: what processes execute of their own, counted by the processor where Linux' perf may ask it.

Time, also CPU time, is longer where others use the same caches; instructions are not.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

_STAT = ("stat", "-x", ",", "-e", "instructions:u")
_COUNTED = re.compile(r"^(\d+),", re.MULTILINE)


class Counter:
    """Counts what some processes execute in user mode while the command runs that `under` is put before."""

    def __init__(self, perf: str | None, pids: Iterable[int], file: Path) -> None:
        self._file = file
        of = ["-o", str(file), "-p", ",".join(map(str, pids)), "--"]
        self.under = [] if perf is None else [perf, *_STAT, *of]

    def read(self) -> int | None:
        """Return how many; None where nobody could count them."""
        if not self.under:
            return None
        return read_perf(self._file.read_text(encoding="utf-8"))


@contextmanager
def counter(pids: Iterable[int]) -> Iterator[Counter]:
    """Yield a counter of these processes."""
    with TemporaryDirectory(prefix="oceanus-perf-") as folder:
        yield Counter(_perf(), pids, Path(folder) / "counted")


def read_perf(text: str) -> int | None:
    """Return the number that `perf stat -x ,` has written; None where it says that it counted nothing."""
    found = _COUNTED.search(text)
    return int(found[1]) if found else None


@cache
def _perf() -> str | None:
    """Return the path of a perf that may count; a container's often may not."""
    perf = shutil.which("perf")
    if perf is None:
        return None
    tried = subprocess.run([perf, *_STAT, "true"], check=False, capture_output=True, text=True)  # noqa: S603 - found by name
    return perf if read_perf(tried.stderr) is not None else None
