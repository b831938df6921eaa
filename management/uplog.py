"""The one log of `oceanus up`: each line behind the name of who said it, on stdout and in up.log.

A line is in up.log even when nobody reads stdout any more. What is no news is only there. Where up.log cannot be
written, as on a full disk, lines go to stdout alone: what runs must not end, or fall silent, with its log.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

LARGEST_BYTES = 10_000_000
WIDEST_NAME = len("table_manager")


def open_log(file: Path) -> TextIO:
    """Open `file` to append to it; a large one is put aside as `<file>.1` first, in the place of an older one."""
    if file.exists() and file.stat().st_size > LARGEST_BYTES:
        file.replace(file.with_name(file.name + ".1"))
    return file.open("a", encoding="utf-8", buffering=1)


def prefixed(name: str, line: str) -> str:
    """Return a line behind the name of who said it."""
    return f"{name:<{WIDEST_NAME}} | {line}"


class Log:
    """Writes every line twice: to whoever watches, and to the file, which `again` opens anew when it is large."""

    def __init__(self, file: TextIO, watched: TextIO, again: Callable[[], TextIO] | None = None) -> None:
        self._file = file
        self._watched: TextIO | None = watched
        self._again = again
        self._written = 0

    def tell(self, name: str, line: str) -> None:
        """Write one line that `name` said."""
        self.say(prefixed(name, line))

    def keep(self, name: str, line: str) -> None:
        """Write one line that `name` said to the file alone."""
        self._write(prefixed(name, line))

    def say(self, line: str) -> None:
        """Write one line as it is."""
        self._write(line)
        if self._watched is None:
            return
        try:
            print(line, file=self._watched, flush=True)
        except OSError:  # whoever read stdout has gone; that must not end what runs
            self._watched = None

    def _write(self, line: str) -> None:
        with suppress(OSError):  # the line is lost to the file
            print(line, file=self._file)
            self._written += len(line) + 1
            if self._written > LARGEST_BYTES and self._again is not None:
                old = self._file
                self._file, self._written = self._again(), 0
                old.close()
