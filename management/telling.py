"""Telling: how a command speaks to whoever sits at the terminal, and reads what was typed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from management import sql


def say(lines: list[str]) -> None:
    """Write lines to stderr."""
    for line in lines:
        click.echo(line, err=True)


class Bytes(click.ParamType[int]):
    """A size such as 10GB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the size in bytes."""
        try:
            return value if isinstance(value, int) else sql.parse_bytes(value)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


@contextmanager
def progress(what: str, whole: int) -> Iterator[Any]:
    """Show a bar on a terminal and nothing elsewhere; yields what to call after each step."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=whole)
        yield lambda steps=1: bar.advance(task, steps)
