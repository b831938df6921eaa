"""The one log of `oceanus up`: each line behind the name of who said it, on stdout and in up.log.

A line is in up.log even when nobody reads stdout any more. What is no news is only there.
"""

from pathlib import Path
from typing import TextIO

LARGEST_BYTES = 10_000_000
WIDEST_NAME = len("table_manager")


def open_log(file: Path) -> TextIO:
    """Open `file` to append to it; a large one of earlier runs is put aside as `<file>.1` first."""
    if file.exists() and file.stat().st_size > LARGEST_BYTES:
        file.replace(file.with_name(file.name + ".1"))
    return file.open("a", encoding="utf-8", buffering=1)


def prefixed(name: str, line: str) -> str:
    """Return a line behind the name of who said it."""
    return f"{name:<{WIDEST_NAME}} | {line}"


class Log:
    """Writes every line twice: to whoever watches, and to the file."""

    def __init__(self, file: TextIO, watched: TextIO) -> None:
        self._file = file
        self._watched: TextIO | None = watched

    def tell(self, name: str, line: str) -> None:
        """Write one line that `name` said."""
        self.say(prefixed(name, line))

    def keep(self, name: str, line: str) -> None:
        """Write one line that `name` said to the file alone."""
        print(prefixed(name, line), file=self._file)

    def say(self, line: str) -> None:
        """Write one line as it is."""
        print(line, file=self._file)
        if self._watched is None:
            return
        try:
            print(line, file=self._watched, flush=True)
        except OSError:  # whoever read stdout has gone; that must not end what runs
            self._watched = None
