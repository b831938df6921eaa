"""The operator's command `oceanus`: reads settings, puts the tools together, and says how it went.

Exit codes: 0 done, 1 not so, 2 wrong use.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from management import check, replay, running, sql, status
from management.up import up
from oceanus import settings, sites, warehouse
from oceanus.errors import MisconfiguredError, OceanusError
from oceanus.settings import UpSettings
from oceanus.spool import Spool, connect
from oceanus.warehouse.clients import check as check_warehouse


class _Told(click.Group):
    """Tells an operator our errors as lines with a remedy, never as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; exit 1 with a line for each mistake."""
        try:
            return super().invoke(ctx)
        except MisconfiguredError as exc:
            _say(exc.mistakes)
        except OceanusError as exc:
            _say([str(exc).partition("\n\n")[0]])  # below it BigQuery names the job, which tells an operator nothing
        return ctx.exit(1)


@click.group(cls=_Told, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Collect beacons from web pages and land every one of them in BigQuery."""


@main.command("up", epilog="Example: PORT=8080 SITES_FILE=sites.yaml oceanus up")
@click.pass_context
def up_command(ctx: click.Context) -> None:
    """Run everything on this machine: Redis, BigQuery, arms, r2bq, table_manager. Ctrl-C stops it, the rows stay.

    PORT, DATA_DIR and SITES_FILE say where; with PROJECT_ID it runs against Google's BigQuery.
    """
    ctx.exit(asyncio.run(up(settings.environment())))


@main.command("check", epilog="Example: SITES_FILE=sites.yaml oceanus check")
@click.option("--offline", is_flag=True, help="Do not ask BigQuery.")
def check_command(offline: bool) -> None:
    """Name every mistake in the settings and in sites.yaml, a line each; ask BigQuery, if the environment names one."""
    environ = settings.environment()
    mistakes, asked = check.mistakes(environ), None
    if not offline and running.names_warehouse(environ):
        try:
            asked = running.warehouse(environ)
            check_warehouse(warehouse.connect(asked))
        except MisconfiguredError as exc:
            mistakes += [mistake for mistake in exc.mistakes if mistake not in mistakes]
    if mistakes:
        raise MisconfiguredError(mistakes)
    click.echo(check.summary(environ))
    if asked:
        click.echo(f"BigQuery: project {asked.project}, dataset {asked.dataset}: answers")


class _Bytes(click.ParamType[int]):
    """A size such as 10GB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the size in bytes."""
        try:
            return value if isinstance(value, int) else sql.parse_bytes(value)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


@main.command("sql", epilog='Example: oceanus sql "SELECT url, COUNT(*) AS views FROM bizocean GROUP BY url"')
@click.argument("query")
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@click.option("--max-bytes", type=_Bytes(), default="10GB", show_default=True, help="Refuse to read more than this.")
def sql_command(query: str, form: str, max_bytes: int) -> None:
    """Run one SELECT in the warehouse; tables need no dataset. `-` reads the query from stdin."""
    chosen = running.warehouse(settings.environment())
    text = sys.stdin.read() if query == "-" else query
    found = warehouse.Queries(warehouse.connect(chosen), chosen.dataset).select(text, max_bytes)
    sql.show(found, form, sys.stdout)


@main.command("replay", epilog="Example: oceanus replay access.log --site bizocean --rate 200")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--site", "name", required=True, help="Site of method swallow.")
@click.option("--url", help="Address of arms; by default the one that `oceanus up` runs.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Beacons a second at most.")
@click.option(
    "--keep-time", is_flag=True, help="Keep the log's own times; else they are moved so that the last is now."
)
@click.pass_context
def replay_command(
    ctx: click.Context, file: Path, name: str, url: str | None, rate: float | None, keep_time: bool
) -> None:
    """Send the lines of an access log (Combined Log Format) as beacons, each once, with its address, agent and time.

    With --url the token of trusted callers is TRUST_TOKEN of the environment.
    """
    environ = settings.environment()
    _check_swallow(name, running.sites_file(environ))
    if url is not None and not url.startswith(("http://", "https://")):
        raise click.UsageError(f"--url {url}: must begin with http:// or https://")
    target, token = _target(url, environ)
    ctx.exit(_replay(file, name, target, token, rate, keep_time))


@main.command("status", epilog="Example: oceanus status --format json")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_context
def status_command(ctx: click.Context, form: str) -> None:
    """Show what waits, what has landed and when something last came, by site."""
    environ = settings.environment()
    declared = sites.load(running.sites_file(environ))
    spool = Spool(connect(running.redis(environ)))
    looks = {name: spool.look(name) for name in [*declared, *sorted(spool.sites() - set(declared))]}
    metrics = running.arms_metrics(environ)
    in_journal = None if metrics is None else status.ask_arms(metrics)
    now_us = time.time_ns() // 1000
    removed = status.stranded(looks, declared)
    status.show(
        {name: status.site_status(look, now_us) for name, look in looks.items()}, removed, in_journal, form, sys.stdout
    )
    if in_journal is None:
        _say(["arms was not asked: what is in its journal is not counted here"])
    _say(
        [
            f"{name}: {count} records wait, but sites.yaml does not declare it: nobody drains them"
            for name, count in removed.items()
        ]
    )
    ctx.exit(1 if removed else 0)


def _check_swallow(name: str, sites_file: str) -> None:
    site = sites.load(sites_file).get(name)
    if site is None:
        raise click.UsageError(f"--site {name}: {sites_file} declares no such site")
    if site.method != "swallow":
        raise click.UsageError(
            f"--site {name}: its method is {site.method}; an access log goes to a site of method swallow"
        )


def _target(url: str | None, environ: dict[str, str]) -> tuple[str, str]:
    """Return address and token of the collector; the token of `up` goes to no other address."""
    given = settings.read(UpSettings, environ).trust_token
    if url is None:
        found = running.find(environ)
        return found.url, given or found.trust_token_file.read_text(encoding="utf-8").strip()
    if not given:
        raise MisconfiguredError(["TRUST_TOKEN is not set: --url needs the token that arms at that address was given"])
    return url, given


def _replay(file: Path, name: str, url: str, token: str, rate: float | None, keep_time: bool) -> int:
    with file.open("rb") as lines:
        covered = replay.span(lines)
    now = datetime.now(UTC)
    shift = replay.shift_to(covered, now) if not keep_time else now - now
    if replay.too_old(covered, shift, now):
        _say([f"warning: some lines are older than {replay.KEPT_YEARS} years: BigQuery will refuse them"])
    tally, began = replay.Tally(), time.monotonic()
    try:
        with file.open("rb") as lines, _progress(f"to {name}", covered.lines) as each:
            asyncio.run(_send(url, token, name, tally, rate, replay.sendings(lines, covered, shift), each))
    except replay.NobodyAnswersError as exc:
        _say([f"{url}: {exc}; stopped"])
    except KeyboardInterrupt:
        _say(["interrupted"])
    _say(replay.named(tally))
    click.echo(replay.closing(tally, name, time.monotonic() - began, covered.lines))
    return 0 if tally.accepted == covered.lines else 1


async def _send(
    url: str, token: str, name: str, tally: replay.Tally, rate: float | None, beacons: Any, each: Any
) -> None:
    async with replay.client(url, token) as client:
        await replay.Replay(client, name, tally, rate).send(beacons, each)


@contextmanager
def _progress(what: str, whole: int) -> Iterator[Any]:
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
        yield lambda: bar.advance(task)


def _say(lines: list[str]) -> None:
    for line in lines:
        click.echo(line, err=True)


if __name__ == "__main__":
    main(prog_name="oceanus")
