"""Telling: how a command speaks to whoever sits at the terminal, and reads what was typed."""

from collections.abc import Callable, Iterator
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
    with _bar() as bar:
        task = bar.add_task(what, total=whole)
        yield lambda steps=1: bar.advance(task, steps)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for what is under way, as `progress` does; yields what to call with its name, what is done, and all.

    A new name is a new stage, whose bar begins anew.
    """
    with _bar() as bar:
        task, current = bar.add_task("starting", total=None), "starting"

        def tell(what: str, done: int, whole: int) -> None:
            nonlocal current
            if what != current:
                current = what
                bar.reset(task, description=what)
            bar.update(task, completed=done, total=whole)

        yield tell


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)
